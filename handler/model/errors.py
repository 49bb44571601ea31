"""The errors of this package, by the person who must act.

RequestRefused            the sender: the request as a whole, answered with `status`
├── NotFound              404, the path is not one of ours
├── MethodNotAllowed      405, the path takes another method
├── MalformedBody         400, the body is not JSON or none of the known shapes
├── Unauthorised          401, missing or wrong credentials
├── BodyTooLarge          413, larger than we take or can store
└── UnsupportedEvent      500, the operator: something else than an HTTP API invokes the function
Unavailable               nobody yet, or the operator: try again later, 503
├── SettingsUnavailable   SSM cannot be read
├── FaultySettings        the operator: the settings of a source have faults
└── NotStored             neither queue takes the events
UnknownSource             the sender, or the operator: there are no settings under that name
FaultyEnvironment         the operator: the function's environment variables have faults
UnreadableRecord          the operator: a message that this function did not write
DeletionsUnknown          nobody yet: DynamoDB cannot be read or written
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from handler.model.reason_codes import RefusalCause
from mapping import Fault


class RequestRefused(Exception):
    """A request that is refused as a whole. `message` goes into the answer, `cause` into the log and the metrics."""

    status: ClassVar[int]

    def __init__(self, cause: RefusalCause, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message

    def __str__(self) -> str:
        return self.message


class NotFound(RequestRefused):
    status = 404


class MethodNotAllowed(RequestRefused):
    """`allowed` are the methods that the path takes."""

    status = 405

    def __init__(self, cause: RefusalCause, message: str, allowed: str) -> None:
        super().__init__(cause, message)
        self.allowed = allowed


class MalformedBody(RequestRefused):
    status = 400


class Unauthorised(RequestRefused):
    status = 401


class BodyTooLarge(RequestRefused):
    status = 413


class UnsupportedEvent(RequestRefused):
    status = 500


class Unavailable(Exception):
    """The request may succeed later: 503 with Retry-After. `cause` goes into the log and the metrics."""

    cause: ClassVar[RefusalCause]


class SettingsUnavailable(Unavailable):
    cause = RefusalCause.SETTINGS_UNAVAILABLE


class FaultySettings(Unavailable):
    """The settings of a source have faults, all of them listed. No fault holds a value."""

    cause = RefusalCause.FAULTY_SETTINGS

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        super().__init__(source, faults)
        self.source = source
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


class NotStored(Unavailable):
    cause = RefusalCause.NOT_STORED


class UnknownSource(Exception):
    """There are no settings for a source of this name."""

    cause: ClassVar[RefusalCause] = RefusalCause.UNKNOWN_SOURCE


class FaultyEnvironment(Exception):
    """Environment variables have faults, all of them listed."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(self.faults)


class UnreadableRecord(Exception):
    """The body of a message is not a failure record."""


class DeletionsUnknown(Exception):
    """DynamoDB cannot be asked, or cannot be told, which customers were deleted."""


class AttributeTimesUnknown(Exception):
    """DynamoDB cannot be asked, or cannot be told, which event has set an attribute last."""


class ProjectStateUnknown(Exception):
    """DynamoDB cannot be asked, or cannot be told, whether events of a project wait and which calls are allowed."""

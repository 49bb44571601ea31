"""What can go wrong at the edge, by who must act on it.

RequestRefused            the sender: the request as a whole is answered with `status`
├── NotFound              404
├── MethodNotAllowed      405
├── MalformedBody         400
├── Unauthorised          401
└── BodyTooLarge          413
Unavailable               nobody, or the operator: try again later, 503
├── SettingsUnavailable   SSM cannot be read
├── FaultySettings        the operator: the settings of a source have faults
└── NotStored             SQS takes the events in neither queue
UnknownSource             the sender, or the operator: no settings lie under that name
FaultyEnvironment         the operator: the function's environment has faults
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mapping import Fault


class RequestRefused(Exception):
    """A request that is refused as a whole; `message` is the answer's, `cause` counts in the log."""

    status: ClassVar[int]

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(cause, message)
        self.cause = cause
        self.message = message

    def __str__(self) -> str:
        return self.message


class NotFound(RequestRefused):
    status = 404


class MethodNotAllowed(RequestRefused):
    status = 405


class MalformedBody(RequestRefused):
    status = 400


class Unauthorised(RequestRefused):
    status = 401


class BodyTooLarge(RequestRefused):
    status = 413


class Unavailable(Exception):
    """The request may succeed later: 503 with Retry-After. `cause` counts in the log."""

    cause: ClassVar[str]


class SettingsUnavailable(Unavailable):
    cause = "settings_unavailable"


class FaultySettings(Unavailable):
    """The settings of a source with every fault they have. No fault holds a value."""

    cause = "faulty_settings"

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        super().__init__(source, faults)
        self.source = source
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


class NotStored(Unavailable):
    cause = "not_stored"


class UnknownSource(Exception):
    """There are no settings for a source of this name. `cause` counts in the log."""

    cause: ClassVar[str] = "unknown_source"


class FaultyEnvironment(Exception):
    """Environment variables with every fault they have."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(self.faults)


class UnreadableRecord(Exception):
    """A message that is no failure record: somebody else has put it into the queue."""

"""How a command ends: its exit codes, and its error message.

0    success
1    something is wrong or left to do: a fault in the settings, a rejected event
2    the command line is wrong
3    AWS or Voucherify could not be reached, or refused
130  interrupted; what is done stays done, and the same command continues
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

from cli.interruption import INTERRUPTED as _INTERRUPTED

_LOOPBACK = "http://127.0.0.1:"
_NETWORK = "check your network and --region"


class Exit(IntEnum):
    """Exit codes."""

    FINE = 0
    WRONG = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = _INTERRUPTED


class CommandFailed(Exception):
    """A command cannot continue. `advice` says what to do next; neither text has a secret."""

    def __init__(self, problem: str, advice: str = "", code: Exit = Exit.WRONG) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.code = code


@contextmanager
def aws_errors() -> Iterator[None]:
    """Raise CommandFailed where AWS refuses a call or cannot be reached."""
    try:
        yield
    except NoCredentialsError as error:
        advice = "run aws configure or aws sso login"
        raise CommandFailed("no AWS credentials found", advice, Exit.UNREACHABLE) from error
    except ClientError as error:
        answer = error.response.get("Error", {})
        problem = f"AWS refused {error.operation_name}: {answer.get('Code')}: {answer.get('Message')}"
        advice = "check the permissions of your AWS credentials"
        raise CommandFailed(problem, advice, Exit.UNREACHABLE) from error
    except EndpointConnectionError as error:
        url = str(error.kwargs["endpoint_url"])
        if not url.startswith(_LOOPBACK):
            raise CommandFailed(f"AWS could not be reached: {error}", _NETWORK, Exit.UNREACHABLE) from error
        advice = "start it: make serve"
        raise CommandFailed(f"no local system answers at {url}", advice, Exit.UNREACHABLE) from error
    except BotoCoreError as error:
        raise CommandFailed(f"AWS could not be reached: {error}", _NETWORK, Exit.UNREACHABLE) from error

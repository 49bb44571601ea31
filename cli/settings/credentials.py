"""Checks the credentials of a Voucherify project with a call that only reads."""

from __future__ import annotations

from dataclasses import dataclass

from handler.model.deadline import Deadline
from handler.voucherify.client import NoAnswer, VoucherifyClient
from mapping import Operation, Request

_TIMEOUT_SECONDS = 10.0

# Lists one customer; only the status of the answer counts. The mapping has no operation for it; like an upsert, it may
# be sent again when a connection breaks. https://docs.voucherify.io/api-reference/customers/list-customers
_LIST = Request(Operation.UPSERT_CUSTOMER, "GET", "/v1/customers?limit=1", None, "")

_WHERE = "Voucherify, Project settings → Application keys"


@dataclass(frozen=True)
class Verdict:
    """The result of a check; without a `problem`, the credentials are valid.

    `limit` and `left` are the calls of the plan's window, empty where Voucherify does not name them.
    """

    problem: str = ""
    advice: str = ""
    limit: str = ""
    left: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.problem


def check_credentials(api_url: str, api_key: str, api_token: str) -> Verdict:
    """Call Voucherify with these credentials. The verdict does not contain them."""
    client = VoucherifyClient(api_url, api_key, api_token)
    try:
        answer = client.send(_LIST, Deadline.after(_TIMEOUT_SECONDS))
    except NoAnswer as error:
        advice = "check that this is the project's cluster and that this machine can reach it"
        return Verdict(f"no answer from {api_url}: {error}", advice)
    problem, advice = _problem(api_url, answer.status)
    limit, left = (answer.headers.get(f"x-rate-limit-{name}", "") for name in ("limit", "remaining"))
    return Verdict(problem, advice, limit, left)


def _problem(api_url: str, status: int) -> tuple[str, str]:
    match status:
        case 200:
            return "", ""
        case 401:
            advice = f"copy Application ID and Secret Key again ({_WHERE}), and check that apiUrl is their cluster"
            return f"{api_url} refused the credentials (401)", advice
        case 403:
            return f"the credentials lack the permission to read customers (403 from {api_url})", f"grant it: {_WHERE}"
        case 402 | 429:
            return f"the plan's calls are used up ({status})", "wait for the next window, or upgrade the plan"
        case _ if status >= 500:
            return f"{api_url} is failing ({status})", "try again later; see https://status.voucherify.io"
    return f"{api_url} answered {status}", "check that this is the address of Voucherify's API"

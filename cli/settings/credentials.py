"""Checks the credentials of a Voucherify project with a call that only reads."""

from __future__ import annotations

from dataclasses import dataclass

from handler.model.deadline import Deadline
from handler.model.reason_codes import ReasonCode
from handler.voucherify.answers import failure_of_answer
from handler.voucherify.client import Answer, NoAnswer, VoucherifyClient
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
    problem, advice = _problem(api_url, answer)
    limit, left = (answer.headers.get(f"x-rate-limit-{name}", "") for name in ("limit", "remaining"))
    return Verdict(problem, advice, limit, left)


def _problem(api_url: str, answer: Answer) -> tuple[str, str]:
    """Return what an answer means, as the function takes it, and what to do."""
    failure = failure_of_answer(answer, _LIST)
    if failure is None:
        return "", ""
    if answer.status == 403:
        return f"the credentials lack the permission to read customers (403 from {api_url})", f"grant it: {_WHERE}"
    match failure.code:
        case ReasonCode.CREDENTIALS_REFUSED:
            advice = f"copy Application ID and Secret Key again ({_WHERE}), and check that apiUrl is their cluster"
            return f"{api_url} refused the credentials ({answer.status})", advice
        case ReasonCode.PLAN_USED_UP:
            return f"the plan's calls are used up ({answer.status})", "upgrade the plan, or wait for its next cycle"
        case ReasonCode.RATE_LIMITED:
            seconds = answer.headers.get("retry-after", "")
            again = f"try again in {seconds} seconds" if seconds else "try again in a minute"
            return "the calls of this window are used up (429)", f"{again}; events wait in the retry queue meanwhile"
        case ReasonCode.WRONG_API_URL:
            return f"{api_url} answered {answer.status}", "check that this is the address of Voucherify's API"
    if answer.status >= 500:
        return f"{api_url} is failing ({answer.status})", "try again later; see https://status.voucherify.io"
    return f"{api_url} answered {answer.status}", "check that this is the address of Voucherify's API"

"""Whether Voucherify takes a project's keys, by a call that reads only."""

from __future__ import annotations

from dataclasses import dataclass

from handler.model.deadline import Deadline
from handler.voucherify.client import NoAnswer, VoucherifyClient
from mapping import Operation, Request

_TIMEOUT_SECONDS = 10.0

# A list of one customer, whose answer is not looked at. It has no operation of its own among those of the mapping; like
# an upsert it may be sent again where a connection dies. https://docs.voucherify.io/api-reference/customers/list-customers
_LIST = Request(Operation.UPSERT_CUSTOMER, "GET", "/v1/customers?limit=1", None, "")

_WHERE = "they are in Voucherify's Project settings → Application keys"


@dataclass(frozen=True)
class Verdict:
    """What Voucherify says of a pair of keys; without a `problem` it takes them.

    `limit` and `left` are the calls of its plan's window, empty where it says nothing of them.
    """

    problem: str = ""
    advice: str = ""
    limit: str = ""
    left: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.problem


def ask_voucherify(api_url: str, api_key: str, api_token: str) -> Verdict:
    """Asks for one customer with these keys. No text of the verdict holds them."""
    client = VoucherifyClient(api_url, api_key, api_token)
    try:
        answer = client.send(_LIST, Deadline.after(_TIMEOUT_SECONDS))
    except NoAnswer as error:
        advice = "is it the project's cluster, and does this machine reach it?"
        return Verdict(f"{api_url} does not answer: {error}", advice)
    problem, advice = _problem(api_url, answer.status)
    limit, left = (answer.headers.get(f"x-rate-limit-{name}", "") for name in ("limit", "remaining"))
    return Verdict(problem, advice, limit, left)


def _problem(api_url: str, status: int) -> tuple[str, str]:
    match status:
        case 200:
            return "", ""
        case 401:
            advice = (
                f"copy Application ID and Secret Key once more: {_WHERE}; and is that address their project's cluster?"
            )
            return f"{api_url} does not take the keys (401)", advice
        case 403:
            return f"{api_url} does not let these keys read customers (403)", f"give them more rights: {_WHERE}"
        case 402 | 429:
            return f"the plan's calls are used up ({status})", "wait for the next window, or for a larger plan"
        case _ if status >= 500:
            return f"{api_url} fails ({status})", "try again later; https://status.voucherify.io says more"
    return f"{api_url} answers {status}", "is it the address of Voucherify's API?"

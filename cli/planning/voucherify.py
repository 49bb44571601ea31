"""Voucherify's rate limit: calls are counted in fixed windows. https://docs.voucherify.io/docs/limits"""

from __future__ import annotations

import math
from typing import NamedTuple

from handler.model.failure import Failure
from handler.voucherify.answers import failure_of_answer
from handler.voucherify.bulk import CUSTOMERS
from handler.voucherify.client import Answer


class Limit(NamedTuple):
    """The calls that are allowed in each window of that many seconds."""

    calls: int
    seconds: float


class Voucherify:
    """A project whose calls all succeed, except those beyond the limit."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._window = -1
        self._used = 0

    def answer(self, now: float) -> tuple[Answer, Failure | None]:
        """Return the answer to a call, and its failure."""
        window = math.floor(now / self._limit.seconds)
        if window != self._window:
            self._window, self._used = window, 0
        is_refused = self._used >= self._limit.calls
        self._used += not is_refused
        end = math.ceil((window + 1) * self._limit.seconds)
        headers = {
            "x-rate-limit-limit": str(self._limit.calls),
            "x-rate-limit-remaining": str(self._limit.calls - self._used),
            "x-rate-limit-retry": str(end),
        }
        if not is_refused:
            return Answer(200, headers, None), None
        headers |= {"retry-after": str(max(1, math.ceil(end - now))), "x-rate-limit-type": "api_calls"}
        return Answer(429, headers, None), _TOO_MANY_CALLS


_TOO_MANY_CALLS = failure_of_answer(Answer(429, {}, None), CUSTOMERS.request)

"""What the mapping returns: a request to Voucherify or the reason for sending none, as values.

A request knows no host and no credentials; `handler.voucherify` adds those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple


class LeftOut(NamedTuple):
    """A value that could not be made valid, by its places in the event and in the request. Never the value."""

    source: str
    destination: str
    reason: str

    def __str__(self) -> str:
        source = f" (from {self.source})" if self.source else ""
        return f"{self.destination}{source}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Request:
    """One call of Voucherify's API: `method`, `path` and the JSON object `body`.

    `customer` is the customer's `source_id` or `id`: requests of one customer keep their order. `idempotent` says
    that sending it twice does no harm.
    """

    method: str
    path: str
    body: dict[str, Any]
    customer: str
    idempotent: bool
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> bytes:
        """The body as it leaves: strict JSON in UTF-8. Half of a surrogate pair, as cut text has it, becomes `?`."""
        text = json.dumps(self.body, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Skip:
    """An event that a setting keeps from Voucherify, or that Voucherify has no operation for."""

    reason: str

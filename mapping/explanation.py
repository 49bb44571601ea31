"""The explanation of one event's mapping, as data: it shows why a field has its value or is empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mapping.errors import InvalidEvent
from mapping.mapping_settings import NamedRules
from mapping.requests.request import Request, Skip
from mapping.trace import Filled, LeftOut, MappingTrace


@dataclass(frozen=True, slots=True)
class Explanation:
    """The outcome of one event, which `map_event` returns or raises, and its trace. Holds values, unlike a log.

    `filled` are the fields of the request in the order in which they were filled; `unused` were filled and then not
    sent, each with the reason; `empty` are the rows, by source and destination, whose source had no value; `left_out`
    could not be made valid. `mapped_by` names the mapping, such as `trackMapping['Order Completed']`.

    `also` are the explanations of the event's further requests, and `not_sent` the properties or traits that no row of
    any of them reads: both stand at the first request.
    """

    outcome: Request | Skip | InvalidEvent
    mapped_by: str = ""
    filled: tuple[Filled, ...] = ()
    unused: tuple[tuple[Filled, str], ...] = ()
    empty: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    not_sent: tuple[str, ...] = ()
    also: tuple[Explanation, ...] = ()

    @classmethod
    def of(cls, outcome: Request | InvalidEvent, rules: NamedRules, trace: MappingTrace) -> Explanation:
        """Return the explanation of one request."""
        return cls(
            outcome,
            str(rules),
            tuple(trace.filled),
            tuple(trace.unused),
            tuple(trace.empty),
            tuple(trace.left_out),
        )

    @property
    def all(self) -> tuple[Explanation, ...]:
        """The explanations of all requests of the event."""
        return (self, *self.also)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: `request`, `skip` or `error`, and the other fields."""
        return {
            **self._request_to_json(),
            "notSent": list(self.not_sent),
            "also": [one._request_to_json() for one in self.also],
        }

    def _request_to_json(self) -> dict[str, Any]:
        return {
            **_outcome(self.outcome),
            "mappedBy": self.mapped_by,
            "filled": [_filled(filled) for filled in self.filled],
            "unused": [{**_filled(filled), "reason": reason} for filled, reason in self.unused],
            "empty": [{"source": source, "destination": destination} for source, destination in self.empty],
            "leftOut": [left_out._asdict() for left_out in self.left_out],
        }


def _outcome(outcome: Request | Skip | InvalidEvent) -> dict[str, Any]:
    match outcome:
        case Request():
            return {"request": {"method": outcome.method, "path": outcome.path, "body": outcome.body}}
        case Skip():
            return {"skip": outcome.reason}
    return {"error": {"stage": outcome.stage, "code": outcome.code, "path": outcome.path, "problem": outcome.problem}}


def _filled(filled: Filled) -> dict[str, Any]:
    return {
        "destination": filled.destination,
        "source": filled.source,
        "foundAt": filled.found_at,
        "given": filled.given,
        "value": filled.value,
        "isConverted": filled.is_converted,
        "isFallback": filled.is_fallback,
    }

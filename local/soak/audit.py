"""The audit of a soak: where every accepted event ended, by the records of SQS and the stub, not of the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from local.voucherify_stub.stub import Call

# The function never waits so long for an answer.
SLOW_SECONDS = 4.0


@dataclass(frozen=True)
class Audit:
    """accepted = delivered + dead letters + skipped + duplicates, with no event lost and no track doubled.

    Counters are by messageId, except for `answered`: the sums of the counts in the function's answers. `skipped` has
    the events of a type that is not sent. `worker_duplicates` and `without_deduplication` are metrics of the function;
    a track that was delivered without deduplication may be doubled.
    """

    accepted: Counter[str]
    answered: Counter[str]
    skipped: frozenset[str]
    calls: Sequence[Call]
    applied_events: int
    dead_letters: Counter[str]
    left: int
    received_too_often: int
    worker_duplicates: int
    without_deduplication: int

    @cached_property
    def delivered(self) -> Counter[str]:
        """The events whose calls were applied and answered.

        An upsert counts as often as it was accepted: a row in bulk has all copies of an event, and may be repeated.
        """
        calls = [call for call in self.calls if call.applied and not is_ambiguous(call)]
        tracks = Counter(id_ for call in calls if call.path == "/v1/events" for id_ in ids_of(call))
        upserts = {id_ for call in calls if call.path != "/v1/events" for id_ in ids_of(call)}
        return tracks + Counter({id_: self.accepted[id_] - self.dead_letters[id_] for id_ in upserts})

    @property
    def duplicates(self) -> int:
        return self.answered["duplicate"] + self.worker_duplicates

    @property
    def accounted_for(self) -> int:
        return self.delivered.total() + self.dead_letters.total() + self.answered["skipped"] + self.duplicates

    @cached_property
    def lost(self) -> int:
        return len(self.accepted.keys() - self.delivered.keys() - self.dead_letters.keys() - self.skipped)

    @cached_property
    def applied_tracks(self) -> dict[str, list[Call]]:
        """By messageId, the calls that applied a track."""
        tracks: dict[str, list[Call]] = {}
        for call in self.calls:
            if call.applied and call.path == "/v1/events":
                (id_,) = ids_of(call)
                tracks.setdefault(id_, []).append(call)
        return tracks

    @cached_property
    def doubled(self) -> int:
        """How often a track was applied again although an earlier call had been answered."""
        doubled = 0
        for calls in self.applied_tracks.values():
            answered = [not is_ambiguous(call) for call in calls]
            doubled += sum(any(answered[:place]) for place in range(len(calls)))
        return doubled

    @property
    def ambiguous(self) -> int:
        """How often a track was applied again because no earlier call had been answered."""
        return sum(len(calls) - 1 for calls in self.applied_tracks.values()) - self.doubled

    @cached_property
    def wasted(self) -> int:
        """The calls that the stub refused without being told to."""
        return sum(not call.applied and (call.fault is None or call.fault.applies) for call in self.calls)

    @property
    def errors(self) -> list[str]:
        accepted, skipped = self.accepted.total(), sum(self.accepted[message_id] for message_id in self.skipped)
        tracks = sum(map(len, self.applied_tracks.values()))
        checks = {
            f"{accepted} accepted, {self.accounted_for} accounted for": accepted == self.accounted_for,
            f"{self.lost} lost": not self.lost,
            f"{self.doubled} doubled, {self.without_deduplication} delivered without deduplication": (
                self.doubled <= self.without_deduplication
            ),
            f"{self.left} left in the retry queue": not self.left,
            f"{self.received_too_often} received too often, so moved to the dead-letter queue by SQS": (
                not self.received_too_often
            ),
            f"Voucherify has {self.applied_events} events, but {tracks} were applied": self.applied_events == tracks,
            f"{self.answered['skipped']} skipped, but {skipped} are of a type to skip": (
                self.answered["skipped"] == skipped
            ),
        }
        return [error for error, is_correct in checks.items() if not is_correct]


def ids_of(call: Call) -> list[str]:
    """Return the messageIds, which the soak puts into customers' metadata as keys: a row in bulk has several."""
    rows = call.json if isinstance(call.json, list) else [call.json or {}]
    customers = [row.get("customer") or row for row in rows]
    return [key for customer in customers for key in customer.get("metadata", {}) if key.startswith("soak-")]


def is_ambiguous(call: Call) -> bool:
    """Return whether no answer came, or none in time."""
    return call.status is None or (call.fault is not None and call.fault.delay >= SLOW_SECONDS)

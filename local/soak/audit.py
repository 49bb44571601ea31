"""The books of a soak: every accepted event accounted for, by what others than the handler have seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from local.voucherify_stub.stub import Call

# No call waits so long for its answer.
SLOW_SECONDS = 4.0


@dataclass
class Accepted:
    """What Segment was answered: how often each messageId was accepted, and the counts of the answers."""

    events: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Books:
    """accepted = delivered + dead + skipped + duplicate, and nothing lost or doubled.

    `skipped` are the messageIds of a type that is not sent on; `dead` those in the dead-letter queue, `left` how many
    messages lie in the retry queue; `found_by_worker` how many duplicates the worker says that it found,
    and `unguarded` how many tracks the function says that it delivered without the ledger, which may double them.
    """

    accepted: Accepted
    calls: Sequence[Call]
    events_applied: int
    skipped: frozenset[str]
    dead: Counter[str]
    left: int
    redriven: int
    found_by_worker: int
    unguarded: int

    @cached_property
    def delivered(self) -> Counter[str]:
        """By messageId, how many calls were applied and answered."""
        return Counter(id_of(call) for call in self.calls if call.applied and not is_ambiguous(call))

    @property
    def skips(self) -> int:
        return self.accepted.counts["skipped"]

    @property
    def duplicates(self) -> int:
        return self.accepted.counts["duplicate"] + self.found_by_worker

    @property
    def accounted_for(self) -> int:
        return self.delivered.total() + self.dead.total() + self.skips + self.duplicates

    @cached_property
    def lost(self) -> int:
        return len(self.accepted.events.keys() - self.delivered.keys() - self.dead.keys() - self.skipped)

    @cached_property
    def applied_tracks(self) -> dict[str, list[Call]]:
        """By messageId, the calls that applied it."""
        tracks: dict[str, list[Call]] = {}
        for call in self.calls:
            if call.applied and call.path == "/v1/events":
                tracks.setdefault(id_of(call), []).append(call)
        return tracks

    @cached_property
    def doubled(self) -> int:
        """How often a track was applied again though its application had been answered."""
        return sum(_applied_after_an_answer(calls) for calls in self.applied_tracks.values())

    @property
    def ambiguous(self) -> int:
        """How often a track was applied again because no application of it had been answered."""
        return sum(len(calls) - 1 for calls in self.applied_tracks.values()) - self.doubled

    @cached_property
    def wasted(self) -> int:
        """Calls that the stub refused of its own accord: no fault on purpose made them fail."""
        return sum(not call.applied and (call.fault is None or call.fault.applies) for call in self.calls)

    @property
    def errors(self) -> list[str]:
        """What is wrong with them."""
        checks = {
            f"{self.accepted.events.total()} accepted, {self.accounted_for} accounted for": (
                self.accepted.events.total() != self.accounted_for
            ),
            f"{self.lost} lost": self.lost > 0,
            f"{self.doubled} doubled, {self.unguarded} unguarded": self.doubled > self.unguarded,
            f"{self.left} left in the retry queue": self.left > 0,
            f"{self.redriven} given up by SQS, received too often": self.redriven > 0,
            "Voucherify has other events than were applied": (
                self.events_applied != sum(map(len, self.applied_tracks.values()))
            ),
            "skipped is not what was of a type to skip": (
                self.skips != sum(self.accepted.events[message_id] for message_id in self.skipped)
            ),
        }
        return [error for error, holds in checks.items() if holds]


def id_of(call: Call) -> str:
    """The messageId that the soak has put into the customer's metadata."""
    customer = call.json.get("customer") or call.json
    return str(customer["metadata"]["soak"])


def is_ambiguous(call: Call) -> bool:
    """No answer came, or none in time."""
    return call.status is None or (call.fault is not None and call.fault.delay >= SLOW_SECONDS)


def _applied_after_an_answer(calls: Iterable[Call]) -> int:
    was_answered, doubled = False, 0
    for call in calls:
        doubled += was_answered
        was_answered = was_answered or not is_ambiguous(call)
    return doubled

"""Events to Voucherify, one after the other, until the time is used up."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from handler.outcome import (
    EVENT_TOO_LARGE,
    OUT_OF_TIME,
    Failure,
    failure_of_answer,
    failure_of_bug,
    failure_of_invalid_event,
    failure_of_no_answer,
    failure_while_halted,
)
from handler.voucherify import Answer, NoAnswer
from mapping import EventMapping, InvalidEvent, LeftOut, Request, Skip, map_event, message_id_of

# A call that could not even connect in what is left is not begun.
MIN_CALL_SECONDS = 0.1

Send = Callable[[Request, float], Answer]


class Fate(StrEnum):
    """What became of an event, in the words of the answer."""

    DELIVERED = "delivered"
    QUEUED = "queued"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one raw event. `failure` says why it is queued or rejected, `skip_reason` why it is skipped."""

    event: Any
    fate: Fate
    failure: Failure | None = None
    skip_reason: str = ""
    left_out: tuple[LeftOut, ...] = ()

    @property
    def message_id(self) -> str | None:
        return message_id_of(self.event)


class Delivery:
    """Delivers raw events with one shop's mapping.

    `send` calls Voucherify; `time_left` gives the seconds until nothing more may be called.
    """

    def __init__(self, mapping: EventMapping, send: Send, time_left: Callable[[], float]) -> None:
        self._mapping = mapping
        self._send = send
        self._time_left = time_left
        self._halted_by: Failure | None = None

    def deliver(self, events: Iterable[Any], too_large: Container[int] = ()) -> list[Result]:
        """The result of each event, in their order. What could not be stored, by its place, is not even tried."""
        return [
            Result(event, Fate.REJECTED, EVENT_TOO_LARGE) if index in too_large else self._deliver(event)
            for index, event in enumerate(events)
        ]

    def _deliver(self, event: Any) -> Result:
        try:
            mapped = map_event(event, self._mapping)
            if isinstance(mapped, Skip):
                return Result(event, Fate.SKIPPED, skip_reason=mapped.reason)
            failure = self._call(mapped)
            left_out = mapped.left_out
        except InvalidEvent as error:
            failure, left_out = failure_of_invalid_event(error), ()
        except Exception as error:
            failure, left_out = failure_of_bug(error), ()
        return Result(event, _fate(failure), failure, left_out=left_out)

    def _call(self, request: Request) -> Failure | None:
        if self._halted_by:
            return failure_while_halted(self._halted_by)
        time_left = self._time_left()
        if time_left < MIN_CALL_SECONDS:
            return OUT_OF_TIME
        try:
            failure = failure_of_answer(self._send(request, time_left), request)
        except NoAnswer as error:
            failure = failure_of_no_answer(error, request)
        if failure and failure.halts:
            self._halted_by = failure
        return failure


def _fate(failure: Failure | None) -> Fate:
    if failure is None:
        return Fate.DELIVERED
    return Fate.REJECTED if failure.permanent else Fate.QUEUED

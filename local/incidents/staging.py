"""Puts an incident in place on a running local system, and lets time pass there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from local.incidents.incidents import Incident, event
from local.stack.cold import start_cold
from local.stack.poller import poll_once
from local.stack.samples import sign
from local.stack.system import LocalSystem
from local.voucherify_stub.api import Request, Windows
from local.voucherify_stub.stub import Fault, Rule

HOUR_SECONDS = 60 * 60

# The time-out of the retry worker. A rehearsal does not wait for the 90 seconds that it has on Lambda.
_WORKER_SECONDS = 6.0

# After so long every event is visible, whether it has failed or waits for the windows of the plan.
_HOURS_UNTIL_VISIBLE = 3


@dataclass(frozen=True)
class State:
    """Where the events of an incident are. `at_segment`: they were answered 5xx, and Segment sends them again."""

    sent: int
    delivered: int
    waiting: int
    dead: int
    at_segment: int

    @property
    def is_over(self) -> bool:
        return self.delivered == self.sent and not (self.waiting or self.dead or self.at_segment)

    def __str__(self) -> str:
        counts = {
            "in Voucherify": self.delivered,
            "in the retry queue": self.waiting,
            "in the dead-letter queue": self.dead,
            "refused, and sent again by Segment": self.at_segment,
        }
        return f"{self.sent} events: " + ", ".join(f"{count} {where}" for where, count in counts.items() if count)


class Rehearsal:
    """An incident that is in place."""

    def __init__(self, system: LocalSystem, incident: Incident) -> None:
        self._system = system
        self._incident = incident
        self._windows = Windows(incident.plan, start=time.time()) if incident.plan else None
        self._at_segment: list[dict[str, Any]] = []

    @property
    def state(self) -> State:
        aws, events = self._system.aws, self._system.voucherify.events
        return State(
            sent=self._incident.events,
            delivered=len(events),
            waiting=len(aws.stored("RETRY_QUEUE_URL")),
            dead=len(aws.stored("DEAD_LETTER_QUEUE_URL")),
            at_segment=len(self._at_segment),
        )

    @property
    def message_id(self) -> str:
        """The messageId of an event that is not delivered, or the first one's."""
        for queue in ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"):
            for message in self._system.aws.stored(queue):
                return str(json.loads(message.body)["event"]["messageId"])
        return f"{self._incident.name}-1"

    def begin(self) -> None:
        """Break what the incident breaks, send its events, and let the retry worker try them after some hours.

        Then each event is visible in its queue, so that the commands can read it.
        """
        incident, system = self._incident, self._system
        for settings in incident.settings:
            system.aws.put_settings(settings)
        system.voucherify.metadata_schemas = list(incident.metadata_schemas)
        system.voucherify.rule = self._rule()
        system.aws.moto.answer_late("DynamoDB", incident.dynamodb_seconds)
        start_cold()
        self._send([event(incident, number) for number in range(1, incident.events + 1)])
        if incident.hours:
            self._let_pass(incident.hours)
            self._run_worker()
            self._let_pass(_HOURS_UNTIL_VISIBLE)

    def let_an_hour_pass(self) -> None:
        """Let the world outside recover, an hour pass, and the senders and the retry worker try again."""
        if self._incident.recovery:
            self.recover()
        self._let_pass(1)
        self._send(self._at_segment)
        self._run_worker()

    def recover(self) -> None:
        """End what is wrong outside of this deployment."""
        self._system.voucherify.rule = None
        self._system.aws.moto.answer_late("DynamoDB", 0.0)

    def _rule(self) -> Rule | None:
        """Return what the stub does with each call."""
        windows, fault = self._windows, self._incident.voucherify

        def limited(request: Request) -> Fault:
            is_refused = windows is not None and not windows.take(request.at)
            headers = windows.headers(request.at, is_refused) if windows else {}
            return Fault(429 if is_refused else None, headers=headers)

        if windows:
            return limited
        return (lambda request: fault) if fault else None

    def _let_pass(self, hours: int) -> None:
        """Make everything stored that much older, and start new execution environments."""
        self._system.aws.let_time_pass(hours * HOUR_SECONDS)
        if self._windows:
            self._windows.advance(hours * HOUR_SECONDS)
        start_cold()

    def _send(self, events: Sequence[dict[str, Any]]) -> None:
        """Send events in one request, signed over the first as Segment does, and keep those that it retries."""
        if not events:
            return
        first, *others = [json.dumps(one) for one in events]
        answer = urllib3.request(
            "POST",
            f"{self._system.url}/events",
            body=f"[{','.join([first, *others])}]".encode(),
            headers={"Content-Type": "application/json", "X-Signature": sign(first.encode())},
            retries=False,
        )
        self._at_segment = list(events) if answer.status >= 500 else []

    def _run_worker(self) -> None:
        """Let the retry worker try every event that is visible."""
        while poll_once(self._system.aws, _WORKER_SECONDS):
            pass


@contextmanager
def rehearsal(system: LocalSystem, incident: Incident) -> Iterator[Rehearsal]:
    """Put an incident in place in a `with`. What it set in SSM stays."""
    staged = Rehearsal(system, incident)
    try:
        staged.begin()
        yield staged
    finally:
        staged.recover()
        system.voucherify.metadata_schemas = []

"""`make run`: send the sample events through the whole system and say whether each went as expected."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import urllib3
from rich.console import Console

from local.stack.poller import poll_once
from local.stack.samples import SAMPLES, Sample
from local.stack.system import LocalSystem, Ports, local_system
from local.voucherify_stub.stub import Call, Fault

_QUEUES = {"RETRY_QUEUE_URL": "retry queue", "DEAD_LETTER_QUEUE_URL": "dead-letter queue"}
_STATUSES = ("delivered", "queued", "skipped", "duplicate", "rejected")


@dataclass(frozen=True)
class Run:
    """The result of one sample: the answer, the calls of Voucherify, and the new messages of each queue."""

    sample: Sample
    status: int
    answer: dict[str, Any]
    calls: list[Call]
    stored: dict[str, list[dict[str, Any]]]

    @property
    def surprises(self) -> list[str]:
        """The differences from what the sample expects."""
        expected = {**dict.fromkeys(_STATUSES, 0), **self.sample.counts}
        counts = {name: self.answer.get(name) for name in expected}
        stored = {queue: len(messages) for queue, messages in self.stored.items()}
        return [
            f"{what} is {actual}, not {wanted}"
            for what, actual, wanted in (
                ("the status", self.status, self.sample.status),
                ("the count", counts, expected),
                ("the number of calls", len(self.calls), self.sample.requests),
                ("the retry queue's growth", stored["RETRY_QUEUE_URL"], expected["queued"]),
                ("the dead-letter queue's growth", stored["DEAD_LETTER_QUEUE_URL"], expected["rejected"]),
            )
            if actual != wanted
        ]

    @property
    def summary(self) -> str:
        """The sample, the calls of Voucherify and the answer in one line."""
        counts = {name: count for name in _STATUSES if (count := self.answer.get(name))}
        result = ", ".join(name + (f" x{count}" if count > 1 else "") for name, count in counts.items())
        return f"{self.sample.title} → {_summary_of(self.calls)} → {self.status} {result or self.answer['message']}"

    @property
    def details(self) -> Iterator[tuple[str, str]]:
        """Every request and answer, and every message that was stored."""
        payload = self.sample.payload
        yield "Segment → function", f"POST {payload['rawPath']} {payload['body']}"
        for call in self.calls:
            yield "function → Voucherify", f"{call.method} {call.path} {call.body.decode()}"
            yield "Voucherify → function", f"{call.status or 'no answer'} {call.answer.decode()}"
        yield "function → Segment", f"{self.status} {json.dumps(self.answer, ensure_ascii=False)}"
        for queue, messages in self.stored.items():
            for message in messages:
                failure = json.loads(message["Body"])["failure"]
                yield _QUEUES[queue], f"{failure['code']}: {failure['message']}"


def run_sample(system: LocalSystem, sample: Sample) -> Run:
    """Post one sample to the HTTP server, as Segment would."""
    payload = sample.payload
    calls_before = len(system.voucherify.calls)
    stored_before = {queue: {message["MessageId"] for message in system.aws.messages(queue)} for queue in _QUEUES}
    if sample.voucherify_is_down:
        system.voucherify.next(*[Fault(503)] * sample.requests)
    response = urllib3.request(
        "POST",
        system.url + payload["rawPath"],
        body=payload["body"].encode(),
        headers={name: value for name, value in payload["headers"].items() if name != "host"},
        retries=False,
    )
    stored = {
        queue: [message for message in system.aws.messages(queue) if message["MessageId"] not in stored_before[queue]]
        for queue in _QUEUES
    }
    return Run(sample, response.status, response.json(), system.voucherify.calls[calls_before:], stored)


def show(run: Run, console: Console, *, is_verbose: bool) -> None:
    """Print one line, and the details if they are asked for or the sample did not go as expected."""
    _show_line(run.summary, console, is_good=not run.surprises)
    for surprise in run.surprises:
        console.print(f"  {surprise}", style="red")
    if is_verbose or run.surprises:
        for name, text in run.details:
            console.print(f"  {name}: {text}", style="dim")


def run_worker(system: LocalSystem, console: Console) -> bool:
    """Let the retry worker deliver the stored events, print one line, and say whether all were delivered."""
    calls_before = len(system.voucherify.calls)
    stored = poll_once(system.aws)
    left = len(system.aws.messages("RETRY_QUEUE_URL"))
    if stored:
        calls = _summary_of(system.voucherify.calls[calls_before:])
        _show_line(f"retry worker → {calls} → {stored - left} of {stored} delivered", console, is_good=not left)
    return not left


def _show_line(text: str, console: Console, *, is_good: bool) -> None:
    console.print("✓" if is_good else "✗", style="green bold" if is_good else "red bold", end=" ")
    console.print(text)


def _summary_of(calls: list[Call]) -> str:
    """Return each method with its paths, sorted, since calls for different customers run in parallel."""
    paths: dict[str, set[str]] = {}
    for call in calls:
        paths.setdefault(call.method, set()).add(call.path)
    return ", ".join(f"{method} {', '.join(sorted(paths[method]))}" for method in sorted(paths)) or "no call"


def main(arguments: list[str]) -> int:
    """Return 0 if everything went as expected, otherwise 1."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="print every request and answer (VERBOSE=1)")
    is_verbose = parser.parse_args(arguments).verbose
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")  # the lines below say it all
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    console = Console(soft_wrap=True, highlight=False, markup=False)
    with ExitStack() as running:
        with console.status("Starting AWS (moto), the Voucherify stub and the HTTP server"):
            system = running.enter_context(local_system(Ports()))
        samples = [sample for sample in SAMPLES if not (system.is_real and sample.voucherify_is_down)]
        failed = 0
        for sample in samples:
            run = run_sample(system, sample)
            show(run, console, is_verbose=is_verbose)
            failed += bool(run.surprises)
        is_drained = run_worker(system, console)
        voucherify = "the real Voucherify" if system.is_real else "a stub for Voucherify"
    console.print("\nDetails: make run VERBOSE=1. Keep the system running: make serve.", style="dim")
    if failed or not is_drained:
        worker = "" if is_drained else ", and the retry worker did not deliver every stored event"
        console.print(
            f"✗ {failed} of {len(samples)} samples did not go as expected, against {voucherify}{worker}.",
            style="red bold",
        )
        return 1
    console.print(f"✓ All {len(samples)} samples went as expected, against {voucherify}.", style="green bold")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

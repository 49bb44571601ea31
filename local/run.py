"""`make run`: the samples of events/ through the whole system, and what became of each."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import urllib3
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from local.stack.poller import poll_once
from local.stack.samples import SAMPLES, Sample
from local.stack.system import LocalSystem, Ports, local_system
from local.voucherify_stub.stub import Call, Fault

_QUEUES = {"RETRY_QUEUE_URL": "retry queue", "DEAD_LETTER_QUEUE_URL": "dead-letter queue"}


@dataclass(frozen=True)
class Run:
    """What one sample did: the answer, the calls it made, and the messages it left in each queue."""

    sample: Sample
    status: int
    answer: dict[str, Any]
    calls: list[Call]
    stored: dict[str, list[dict[str, Any]]]

    @property
    def surprises(self) -> list[str]:
        """What is not as the sample says it must be."""
        expected = {
            **dict.fromkeys(("delivered", "queued", "skipped", "duplicate", "rejected"), 0),
            **self.sample.counts,
        }
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


def run_sample(system: LocalSystem, sample: Sample) -> Run:
    """Post one sample to the front, as Segment would."""
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
    return Run(
        sample,
        response.status,
        response.json(),
        system.voucherify.calls[calls_before:],
        {
            queue: [
                message for message in system.aws.messages(queue) if message["MessageId"] not in stored_before[queue]
            ]
            for queue in _QUEUES
        },
    )


def show(runs: list[Run], console: Console) -> None:
    table = Table(show_lines=True, expand=True)
    table.add_column("Segment posts", ratio=4)
    table.add_column("Voucherify is asked", ratio=6)
    table.add_column("Voucherify answers", ratio=4)
    table.add_column("Segment is answered", ratio=5)
    table.add_column("Stored", ratio=5)
    for run in runs:
        mark = Text("✗ ", "red bold") if run.surprises else Text("✓ ", "green bold")
        table.add_row(
            Group(mark + Text(run.sample.title, "bold"), *_posted(run)),
            Group(*(line for call in run.calls for line in _asked(call))),
            Group(*map(_answered, run.calls)),
            Group(*_reply(run)),
            Group(*_stored(run)),
        )
    console.print(table)


def show_worker(system: LocalSystem, console: Console) -> None:
    """Let the worker deliver what was stored for later, now that Voucherify answers again."""
    calls_before = len(system.voucherify.calls)
    stored = poll_once(system.aws)
    if not stored:
        return
    for call in system.voucherify.calls[calls_before:]:
        console.print(Text(f"Then the worker: {call.method} {call.path} → "), _answered(call), end="")
    left = len(system.aws.messages("RETRY_QUEUE_URL"))
    console.print(f"; {stored - left} of {stored} events of the retry queue delivered.")


def _posted(run: Run) -> list[Text]:
    events = json.loads(run.sample.payload["body"])
    events = events.get("batch", [events]) if isinstance(events, dict) else events
    return [Text(" ".join(filter(None, (event.get("type"), event.get("event")))), "dim") for event in events]


def _asked(call: Call) -> list[Text]:
    body = [] if call.json is None else [Text(json.dumps(call.json, ensure_ascii=False), "dim")]
    return [Text(f"{call.method} {call.path}", "cyan"), *body]


def _answered(call: Call) -> Text:
    if call.status is None:
        return Text("nothing", "red")
    answer = json.loads(call.answer or b"{}")
    gist = answer.get("key") or answer.get("id") or answer.get("type") or ""
    return Text(f"{call.status} {gist}", "green" if call.status < 300 else "red")


def _reply(run: Run) -> list[Text]:
    counts = [f"{name} {count}" for name, count in run.answer.items() if type(count) is int and count]
    message = run.answer.get("message", "")
    reasons = [f"{error['messageId']}: {error['reason']}" for error in run.answer.get("errors", [])]
    lines = [
        Text(str(run.status), "bold"),
        Text(", ".join(counts) or message),
        *(Text(reason, "dim") for reason in reasons),
    ]
    return lines + [Text(f"but {surprise}", "red") for surprise in run.surprises]


def _stored(run: Run) -> list[Text]:
    lines = []
    for queue, messages in run.stored.items():
        codes = Counter(json.loads(message["Body"])["failure"]["code"] for message in messages)
        lines += [Text(f"{_QUEUES[queue]}: {count} x {code}", "yellow") for code, count in codes.items()]
    return lines or [Text("—", "dim")]


def main() -> int:
    """Exit code 0 only if every sample came out as it should."""
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")  # the table says it all
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    with local_system(Ports()) as system:
        samples = [sample for sample in SAMPLES if not (system.is_real and sample.voucherify_is_down)]
        runs = [run_sample(system, sample) for sample in samples]
        show(runs, console)
        show_worker(system, console)
        failed = sum(bool(run.surprises) for run in runs)
        voucherify = "the real Voucherify" if system.is_real else "a stub for Voucherify"
        console.print(f"{len(runs) - failed} of {len(runs)} samples came out as they should, against {voucherify}.")
        if not failed:
            console.print(
                "Next: `make serve` keeps this running and prints a signed curl to try; README.md has the rest."
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

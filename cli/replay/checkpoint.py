"""What a replay has done: a file that is written as a whole or not at all, so that the same command goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed, Exit
from cli.replay.source import Entry, Input, Position
from handler.voucherify.answers import Failure

_FORMAT = 1

# So many events may have to be looked up again in the ledger after a crash. A Ctrl-C leaves none.
_EVENTS_PER_WRITE = 200


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is of: its inputs, and `version`, of the mapping and of the project that they go to."""

    inputs: Sequence[Input]
    version: str

    def digest(self, count: int) -> str:
        """Of the first so many inputs."""
        return digest_of([[source.name, source.version] for source in self.inputs[:count]])


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The books of one replay: how far it is, what was settled beyond that, and each outcome counted. Thread-safe.

    What was rejected or has failed for good stands beside it, event by event, in a file that can itself be replayed.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        """Reads what is there. Raises CommandFailed where that is no checkpoint, or another replay's.

        `on_settled`, once it is set, is told of each event, of one at a time.
        """
        self.path = path
        self.rejected_path = path.with_name(f"{path.name}.rejected.jsonl")
        self.position = Position()
        self.settled: set[int] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.is_resumed = False
        self.on_settled: Callable[[], None] = lambda: None
        self._identity = identity
        self._digest = identity.digest(len(identity.inputs))
        self._rejected_bytes = 0
        self._unwritten = 0
        self._lock = threading.Lock()
        if path.exists():
            self._read()
        self._cut_rejected()

    def settle(self, entry: Entry, outcome: str, detail: str = "", failure: Failure | None = None) -> None:
        """An event is done with; with a failure it is kept for whoever mends it."""
        with self._lock:
            written = self._append_rejected(entry, outcome, failure) if failure else 0
            # What is appended counts only together with its event: else it is cut off and appended again.
            self._rejected_bytes += written
            self.settled.add(entry.number)
            self.counts[outcome, detail] += 1
            self._unwritten += 1
            if self._unwritten >= _EVENTS_PER_WRITE:
                self._write()
            self.on_settled()

    def advance(self, position: Position) -> None:
        """All that is before `position` is settled."""
        with self._lock:
            self.position = position
            self.settled.clear()
            self._write()

    def write(self) -> None:
        with self._lock:
            self._write()

    def _write(self) -> None:
        document = {
            "format": _FORMAT,
            "inputs": {"count": len(self._identity.inputs), "digest": self._digest},
            "version": self._identity.version,
            "position": self.position._asdict(),
            "settled": sorted(self.settled),
            "counts": [[*key, number] for key, number in sorted(self.counts.items())],
            "rejectedBytes": self._rejected_bytes,
        }
        draft = self.path.with_name(f"{self.path.name}.draft")
        with _opened_privately(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            file.write(json.dumps(document).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        self._unwritten = 0

    def _read(self) -> None:
        try:
            document: Mapping[str, Any] = json.loads(self.path.read_bytes())
            known_format, count = document["format"], document["inputs"]["count"]
            inputs_digest, version = document["inputs"]["digest"], document["version"]
            self.position = Position(**document["position"])
            self.settled = set(document["settled"])
            self.counts = Counter({(outcome, detail): number for outcome, detail, number in document["counts"]})
            self._rejected_bytes = document["rejectedBytes"]
        except OSError as error:
            raise CommandFailed(f"{self.path} cannot be read: {error.strerror or error}", code=Exit.USAGE) from error
        except (ValueError, KeyError, TypeError) as error:
            advice = "name another by --checkpoint"
            raise CommandFailed(f"{self.path} is no checkpoint of a replay", advice, Exit.USAGE) from error
        if known_format != _FORMAT:
            raise self._of_another("of another version of this command", "finish it with that one")
        # What an archive has gained since comes behind what it had.
        if count > len(self._identity.inputs) or self._identity.digest(count) != inputs_digest:
            raise self._of_another("of other inputs, or they have changed", "give the same inputs as before")
        if version != self._identity.version:
            raise self._of_another(
                "of another mapping, or of another project", "put the settings back (settings rollback)"
            )
        self.is_resumed = True

    def _of_another(self, problem: str, advice: str) -> CommandFailed:
        advice += ", or name another file by --checkpoint to begin anew: tracks of the last 15 days are not sent twice"
        return CommandFailed(f"{self.path} is {problem}", advice, Exit.USAGE)

    def _cut_rejected(self) -> None:
        """What was written down after the checkpoint was is written down again."""
        if self.rejected_path.exists():
            if not self.is_resumed:
                advice = "move it away, or name another checkpoint by --checkpoint"
                raise CommandFailed(f"{self.rejected_path} is there already", advice, Exit.USAGE)
            os.truncate(self.rejected_path, self._rejected_bytes)

    def _append_rejected(self, entry: Entry, outcome: str, failure: Failure) -> int:
        """How many bytes it took."""
        record = {
            "event": entry.event,
            "failure": {"stage": failure.stage, "code": failure.code, "message": failure.message},
            "outcome": outcome,
            "place": entry.place,
            **({"text": entry.text} if entry.fault else {}),
        }
        with _opened_privately(self.rejected_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            return int(file.write(json.dumps(record).encode() + b"\n"))


def _opened_privately(path: Path, flags: int) -> Any:
    """It holds events of people: for nobody else to read."""
    return os.fdopen(os.open(path, flags, 0o600), "wb")

"""The state of a replay, in an SQLite file from which the same command continues."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed, Exit
from cli.replay.source import Entry, Input, Position
from handler.model.failure import Action, Failure

# Marks a database as a checkpoint: https://www.sqlite.org/pragma.html#pragma_application_id
# A change of the tables needs another one.
_APPLICATION_ID = 0x56446371

_TABLES = """
CREATE TABLE replay (inputs INTEGER, inputs_digest TEXT, version TEXT, position_inputs INTEGER, position_lines INTEGER);
CREATE TABLE settled (number INTEGER PRIMARY KEY, outcome TEXT, detail TEXT, rejected TEXT);
CREATE TABLE imported (number INTEGER PRIMARY KEY, stage TEXT, code TEXT, message TEXT);
CREATE TABLE counts (outcome TEXT, detail TEXT, events INTEGER, PRIMARY KEY (outcome, detail));
CREATE TABLE rejected (record TEXT);
"""
_COUNTS = "SELECT outcome, detail, events FROM counts UNION ALL SELECT outcome, detail, 1 FROM settled"
_ADD_COUNTS = """
INSERT INTO counts SELECT outcome, detail, count(*) FROM settled WHERE true GROUP BY outcome, detail
ON CONFLICT (outcome, detail) DO UPDATE SET events = events + excluded.events
"""
_REJECTED = "SELECT record FROM rejected UNION ALL SELECT rejected FROM settled WHERE rejected IS NOT NULL"

# After a crash, so many tracks at most are looked up in their idempotency records again. After a Ctrl-C, none is.
_EVENTS_PER_COMMIT = 200


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to: its inputs, and the `version` of the mapping and of the Voucherify project."""

    inputs: Sequence[Input]
    version: str

    def digest(self, count: int) -> str:
        """Return the digest of the first `count` inputs."""
        return digest_of([[source.name, source.version] for source in self.inputs[:count]])


def digest_of(value: Any) -> str:
    """Return a short name for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The position of one replay, the events after it that are settled, and a count of each outcome. Thread-safe.

    It also keeps which orders are imported while their custom events are not sent yet: a second import could set an
    order back that a later event has changed since.

    An event is settled by one statement, with its outcome and, where it is rejected, with its record. So a crash never
    separates them. `on_settled` is called after each event.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        """Open or create a checkpoint. Raises CommandFailed where the file is not one, or belongs to another replay."""
        self.path = path
        self.rejected_path = path.with_name(f"{path.name}.rejected.jsonl")
        self.on_settled: Callable[[], None] = lambda: None
        self._identity = identity
        self._uncommitted = 0
        self._lock = threading.Lock()
        try:
            # The file holds personal data. SQLite's journal gets the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise CommandFailed(f"{path} cannot be opened: {error.strerror or error}", code=Exit.USAGE) from error
        self._database = sqlite3.connect(path, timeout=0, check_same_thread=False)
        try:
            self.is_resumed = self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. What is not committed is settled again by the next run."""
        self._database.close()

    @property
    def position(self) -> Position:
        return Position(*self._database.execute("SELECT position_inputs, position_lines FROM replay").fetchone())

    @property
    def settled(self) -> set[int]:
        """The numbers of the events after the position that are settled."""
        return {number for (number,) in self._database.execute("SELECT number FROM settled")}

    @property
    def imported(self) -> dict[int, Failure | None]:
        """The numbers of the events after the position whose orders are imported, or were refused with a failure."""
        rows = self._database.execute("SELECT number, stage, code, message FROM imported")
        return {
            number: Failure(stage, code, message, action=Action.DEAD_LETTER) if code else None
            for number, stage, code, message in rows
        }

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """The number of events by outcome and detail."""
        counts: Counter[tuple[str, str]] = Counter()
        for outcome, detail, events in self._database.execute(_COUNTS):
            counts[outcome, detail] += events
        return counts

    def settle(self, entry: Entry, outcome: str, detail: str = "", failure: Failure | None = None) -> None:
        """Record that an event is done. With a failure, keep the event, so that it can be fixed and replayed."""
        rejected = _record(entry, outcome, failure) if failure else None
        with self._lock:
            row = (entry.number, str(outcome), detail, rejected)
            self._insert("INSERT INTO settled VALUES (?, ?, ?, ?)", row)
            self.on_settled()

    def keep_import(self, entry: Entry, failure: Failure | None) -> None:
        """Record that the order of an event is imported or, with a failure, refused. The event is not settled yet."""
        with self._lock:
            row = (entry.number, *((failure.stage, failure.code, failure.message) if failure else (None, None, None)))
            self._insert("INSERT INTO imported VALUES (?, ?, ?, ?)", row)

    def advance(self, position: Position) -> None:
        """Move the position: every event before it is settled."""
        with self._lock:
            self._commit()
            with self._database:  # all or nothing
                self._database.execute(_ADD_COUNTS)
                self._database.execute("INSERT INTO rejected SELECT rejected FROM settled WHERE rejected IS NOT NULL")
                self._database.execute("DELETE FROM settled")
                self._database.execute("DELETE FROM imported")
                self._database.execute("UPDATE replay SET position_inputs = ?, position_lines = ?", position)

    def commit(self) -> None:
        """Write what is settled to disk."""
        with self._lock:
            self._commit()

    def export_rejected(self) -> Path | None:
        """Write the rejected events to a file that can be replayed. Return its path, or None where there are none."""
        if not self._database.execute(f"SELECT EXISTS ({_REJECTED})").fetchone()[0]:
            return None
        draft = self.rejected_path.with_name(f"{self.rejected_path.name}.draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.writelines(f"{record}\n" for (record,) in self._database.execute(_REJECTED))
        draft.replace(self.rejected_path)
        return self.rejected_path

    def _insert(self, statement: str, row: tuple[Any, ...]) -> None:
        self._database.execute(statement, row)
        self._uncommitted += 1
        if self._uncommitted >= _EVENTS_PER_COMMIT:
            self._commit()

    def _commit(self) -> None:
        self._database.commit()
        self._uncommitted = 0

    def _open(self) -> bool:
        """Lock the file and prepare its tables. Return whether another run wrote it."""
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            is_new = not self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application_id = self._database.execute("PRAGMA application_id").fetchone()[0]
        except sqlite3.OperationalError as error:
            advice = "wait until it ends, or name another file by --checkpoint"
            raise CommandFailed(f"{self.path} is in use by another replay ({error})", advice, Exit.USAGE) from error
        except sqlite3.DatabaseError as error:
            raise self._unusable("is not a checkpoint of a replay") from error
        if is_new:
            self._create()
        elif application_id != _APPLICATION_ID:
            raise self._unusable("is not a checkpoint of a replay")
        else:
            self._check()
        count = len(self._identity.inputs)
        self._database.execute("UPDATE replay SET inputs = ?, inputs_digest = ?", (count, self._identity.digest(count)))
        self._database.commit()
        self._database.execute("PRAGMA journal_mode = WAL")  # one fsync for each commit instead of three
        return not is_new

    def _create(self) -> None:
        if self.rejected_path.exists():
            advice = "move it away, or name another file by --checkpoint"
            raise CommandFailed(f"{self.rejected_path} already exists", advice, Exit.USAGE)
        self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        for statement in _TABLES.strip().splitlines():
            self._database.execute(statement)
        self._database.execute("INSERT INTO replay VALUES (0, '', ?, 0, 0)", [self._identity.version])

    def _check(self) -> None:
        columns = "SELECT inputs, inputs_digest, version FROM replay"
        count, digest, version = self._database.execute(columns).fetchone()
        # An archive may have gained inputs since; they sort behind the ones that it had.
        if count > len(self._identity.inputs) or self._identity.digest(count) != digest:
            raise self._unusable("belongs to other inputs, or they have changed", "give the same inputs as before, or ")
        if version != self._identity.version:
            problem = "belongs to another mapping or another Voucherify project"
            raise self._unusable(problem, "restore the settings (settings rollback), or ")

    def _unusable(self, problem: str, advice: str = "") -> CommandFailed:
        advice += "name another file by --checkpoint to start over: tracks of the last 15 days are not sent again"
        return CommandFailed(f"{self.path} {problem}", advice, Exit.USAGE)


def _record(entry: Entry, outcome: str, failure: Failure) -> str:
    """Return a rejected event with its failure, as one line of JSON."""
    record = {
        "event": entry.event,
        "failure": {"stage": failure.stage, "code": failure.code, "message": failure.message},
        "outcome": outcome,
        "place": entry.place,
        **({"text": entry.text} if entry.fault else {}),
    }
    return json.dumps(record)

"""Reads events from files and from S3, in windows, so that an archive of any size fits into memory.

Segment's S3 destination writes gzipped JSON lines, an event a line, under `segment-logs/{source}/{day}/`:
https://segment.com/docs/connections/storage/catalog/aws-s3/
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cli.errors import CommandFailed, Exit
from cli.events import event_files, events_in_lines, is_document, reading, unpacked

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Input:
    """A file or an S3 object. Its `version` changes with its content.

    It is one JSON document, or has one in each line.
    """

    name: str
    version: str
    size: int
    is_document: bool
    open: Callable[[], AbstractContextManager[IO[bytes]]]


class Position(NamedTuple):
    """How far the inputs are read: the number of inputs, and of lines of the next one."""

    inputs: int = 0
    lines: int = 0


class Entry(NamedTuple):
    """One event and its number within the window. A line without an event has a `fault` and its `text`.

    `was_stored`: the event is that of a failure record.
    """

    number: int
    place: str
    event: Any
    fault: str = ""
    text: str = ""
    was_stored: bool = False


class Window(NamedTuple):
    """Events that are sent together, in their order. `bytes_read` counts as the sizes of the inputs do."""

    end: Position
    entries: list[Entry]
    bytes_read: int


def find_inputs(names: Sequence[str], s3: Callable[[], S3Client]) -> list[Input]:
    """Return files, the files below directories, and the objects under `s3://bucket/prefix`. Raises CommandFailed."""
    found: list[Input] = []
    for name in names:
        if name.startswith("s3://"):
            found += _objects(s3(), name)
        else:
            found += [_file(path) for path in event_files([Path(name)])]
    return found


def windows(inputs: Sequence[Input], start: Position, size: int) -> Iterator[Window]:
    """Read the events after `start` in windows of about `size` events, whole lines each. Raises CommandFailed."""
    entries: list[Entry] = []
    bytes_before = sum(source.size for source in inputs[: start.inputs])
    for index, source in enumerate(inputs[start.inputs :], start.inputs):
        skipped = start.lines if index == start.inputs else 0
        for number, line, bytes_read in _lines(source):
            if number <= skipped:
                continue
            entries += _entries(f"{source.name}:{number}", line, len(entries))
            if len(entries) >= size:
                yield Window(Position(index, number), entries, bytes_before + bytes_read)
                entries = []
        bytes_before += source.size
    if entries:
        yield Window(Position(len(inputs)), entries, bytes_before)


def _lines(source: Input) -> Iterator[tuple[int, bytes, int]]:
    """Yield each line with its number and the bytes of the input that are read by then; a document is one line."""
    with reading(source.name), source.open() as raw:
        file = unpacked(raw)
        lines: Iterable[bytes] = [file.read()] if source.is_document else file
        for number, line in enumerate(lines, 1):
            yield number, line, raw.tell()


def _entries(place: str, line: bytes, first: int) -> list[Entry]:
    """Return the events of one line. A line without an event becomes an entry too, so that it is reported."""
    try:
        found = list(events_in_lines("", [line]))
    except CommandFailed as failed:
        return [Entry(first, place, None, failed.problem.removeprefix(":1 "), line.decode("utf-8", "replace").strip())]
    return [
        Entry(
            first + index,
            place if len(found) == 1 else f"{place}#{index + 1}",
            one.event,
            was_stored=one.was_stored,
        )
        for index, one in enumerate(found)
    ]


def _file(path: Path) -> Input:
    with reading(str(path)):
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()[:16]
        size = path.stat().st_size
    return Input(str(path), f"{size}-{head}", size, is_document(path), lambda: path.open("rb"))


def _objects(s3: S3Client, url: str) -> list[Input]:
    """Return objects by their names, which begin with the day in Segment's archive."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    found: list[Input] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key, tag, size = item["Key"], item["ETag"], item["Size"]
            if size:
                is_one = key.endswith(".json")  # an object of an archive has lines, whatever comes before .gz
                opened = partial(_downloaded, s3, bucket, key, tag)
                found.append(Input(f"s3://{bucket}/{key}", tag, size, is_one, opened))
    if not found:
        raise CommandFailed(f"there are no objects under {url}", "check the bucket and the prefix", Exit.USAGE)
    return found


@contextmanager
def _downloaded(s3: S3Client, bucket: str, key: str, tag: str) -> Iterator[IO[bytes]]:
    """Download an object first: S3 closes a connection that idles while a window waits for the rate limit."""
    with TemporaryFile() as file:
        shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key, IfMatch=tag)["Body"], file)
        file.seek(0)
        yield file

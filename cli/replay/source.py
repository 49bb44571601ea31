"""History to replay, out of files and of S3: read in windows, so that an archive of any size fits into memory.

Segment's S3 destination keeps gzipped JSON lines, an event a line, under `segment-logs/{source}/{day}/`:
https://segment.com/docs/connections/storage/catalog/aws-s3/
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cli.errors import CommandFailed, Exit
from cli.events import event_files, events_in_lines, is_document

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GZIP_MAGIC = b"\x1f\x8b"
_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Input:
    """A file or an object of S3, as it was found; `version` tells it from another one of its name.

    It has an event or more in each line, or is one JSON document.
    """

    name: str
    version: str
    size: int
    is_document: bool
    opened: Callable[[], AbstractContextManager[IO[bytes]]]


class Position(NamedTuple):
    """How far inputs are read: so many of them, and so many lines of the next one."""

    inputs: int = 0
    lines: int = 0


class Entry(NamedTuple):
    """What one event was read as, by its number within the window; `fault` says why it is none, `text` what it is."""

    number: int
    place: str
    event: Any
    fault: str = ""
    text: str = ""


class Window(NamedTuple):
    """Events that are worked off together, in their order; `bytes_read` counts as the inputs' sizes do."""

    end: Position
    entries: list[Entry]
    bytes_read: int


def find_inputs(names: Sequence[str], s3: Callable[[], S3Client]) -> list[Input]:
    """The files, those below directories, and the objects under `s3://bucket/prefix`. Raises CommandFailed."""
    found: list[Input] = []
    for name in names:
        if name.startswith("s3://"):
            found += _objects(s3(), name)
        else:
            found += [_file(path) for path in event_files([Path(name)])]
    return found


def windows(inputs: Sequence[Input], start: Position, size: int) -> Iterator[Window]:
    """What lies behind `start`, whole lines at a time, about `size` events each. Raises CommandFailed."""
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
    """Each line with its number, and how much of the input is read by then; a JSON document is one line."""
    try:
        with source.opened() as raw:
            unpacked = _unpacked(raw)
            lines: Iterable[bytes] = [unpacked.read()] if source.is_document else unpacked
            for number, line in enumerate(lines, 1):
                yield number, line, raw.tell()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CommandFailed(f"{source.name} cannot be unpacked: it is cut off or damaged") from error
    except OSError as error:
        raise CommandFailed(f"{source.name} cannot be read: {error.strerror or error}", code=Exit.USAGE) from error


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    is_packed = raw.read(2) == _GZIP_MAGIC
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[return-value] # it reads like one


def _entries(place: str, line: bytes, first: int) -> list[Entry]:
    """The events of one line; a line that holds none is an entry too, so that it shows in the end."""
    try:
        events = [event for _, event in events_in_lines("", [line])]
    except CommandFailed as failed:
        return [Entry(first, place, None, failed.problem.removeprefix(":1 "), line.decode("utf-8", "replace").strip())]
    if len(events) == 1:
        return [Entry(first, place, events[0])]
    return [Entry(first + index, f"{place}#{index + 1}", event) for index, event in enumerate(events)]


def _file(path: Path) -> Input:
    try:
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()[:16]
        size = path.stat().st_size
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror or error}", code=Exit.USAGE) from error
    return Input(str(path), f"{size}-{head}", size, is_document(path), partial(_opened, path))


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _objects(s3: S3Client, url: str) -> list[Input]:
    """By their names, which in Segment's archive begin with the day."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    found: list[Input] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key, tag, size = item["Key"], item["ETag"], item["Size"]
            if size:
                is_one = key.endswith(".json")  # an archive's objects have lines, whatever stands before .gz
                opened = partial(_downloaded, s3, bucket, key, tag)
                found.append(Input(f"s3://{bucket}/{key}", tag, size, is_one, opened))
    if not found:
        raise CommandFailed(f"there is nothing under {url}", "is it s3://bucket/prefix?", Exit.USAGE)
    return found


@contextmanager
def _downloaded(s3: S3Client, bucket: str, key: str, tag: str) -> Iterator[IO[bytes]]:
    """An object on disk: S3 would close a connection that waits for Voucherify's next window of calls."""
    with TemporaryFile() as file:
        shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key, IfMatch=tag)["Body"], file)
        file.seek(0)
        yield file

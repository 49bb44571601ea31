"""Reads events from files.

A file has one event, an array, a batch (`{"batch": […]}`), a payload of API Gateway as in events/, a preset as in
events/presets, a failure record as in the queues, or JSON lines of any of these. Each may be gzipped.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import IO, Any, NamedTuple

from cli.errors import CommandFailed, Exit
from handler.api.api_gateway import read_request
from handler.api.body import decode
from handler.model.errors import RequestRefused
from handler.model.strict_json import DECODER, describe_decode_error

_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".gz"})
STANDARD_INPUT = Path("-")

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class FoundEvent(NamedTuple):
    """An event and its place in a file. `was_stored`: it is that of a failure record."""

    place: str
    event: Any
    was_stored: bool


def read_events(paths: Iterable[Path], on_bad_line: Callable[[str], object] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield each event of files and directories with its place: `file`, `file:line` or `file#number`.

    Lines are read one at a time; the path `-` has those of standard input. Raises CommandFailed, with the place, for
    invalid JSON and for JSON without an event. A bad line is left out where `on_bad_line` takes its problem.
    """
    for path in event_files(paths):
        with reading(str(path)), _opened(path) as file:
            is_one = is_document(path)
            found = _found_events(str(path), file.read()) if is_one else events_in_lines(str(path), file, on_bad_line)
            for place, event, _ in found:
                yield place, event


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with path.open("rb") as raw:
        yield unpacked(raw)


def event_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files; of a directory the event files below it, sorted by name. Raises CommandFailed where it has none."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise CommandFailed(f"{path} has no event files", "they end in .json, .jsonl or .jsonl.gz", Exit.USAGE)
        yield from found


def is_document(path: Path) -> bool:
    """Return whether a file is one JSON document, by its name. Any other file has a document in each line."""
    return path.name.removesuffix(".gz").endswith(".json")


def events_in_lines(
    name: str, lines: Iterable[bytes], on_bad_line: Callable[[str], object] | None = None
) -> Iterator[FoundEvent]:
    """Yield each event of JSON lines. Raises CommandFailed for a bad line, unless `on_bad_line` takes its problem."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield from _found_events(f"{name}:{number}", line)
        except CommandFailed as failed:
            if on_bad_line is None:
                raise
            on_bad_line(failed.problem)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise CommandFailed where a file cannot be read or unpacked."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CommandFailed(f"{name} cannot be unpacked: it is cut off or damaged") from error
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror or error}", code=Exit.USAGE) from error


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """Return a file's content, unpacked if it is gzip, whatever its name is."""
    is_packed = raw.read(2) == _GZIP_MAGIC
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[return-value] # it reads like one


def _found_events(place: str, text: bytes) -> Iterator[FoundEvent]:
    try:
        value = DECODER.decode(text.removeprefix(_BOM).decode().strip())
    except JSONDecodeError as error:
        # The place of a line names the line already.
        line = "" if error.lineno == 1 else f":{error.lineno}"
        raise CommandFailed(f"{place}{line} is not JSON: {describe_decode_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{place} is not JSON: {describe_decode_error(error)}") from error
    items = _items(place, value)
    is_one = len(items) == 1 and not isinstance(value, list)
    for number, item in enumerate(items, 1):
        yield FoundEvent(place if is_one else f"{place}#{number}", _unwrap(item), _is_failure_record(item))


def _items(place: str, value: Any) -> list[Any]:
    match value:
        case {"requestContext": dict(), "rawPath": str()}:
            try:
                return decode(read_request(value).body()).events
            except (RequestRefused, KeyError) as error:
                raise CommandFailed(f"{place} is an API Gateway payload that cannot be read: {error}") from error
        case {"batch": list(items)} | list(items):
            return items
        case dict():
            return [value]
    raise CommandFailed(f"{place} is neither an event nor an array of events")


def _is_failure_record(item: Any) -> bool:
    return isinstance(item, dict) and "event" in item and isinstance(item.get("failure"), dict)


def _unwrap(item: Any) -> Any:
    """Return the event of Segment's `{"json": …}`, of a failure record, or of a preset."""
    if _is_failure_record(item):
        return item["event"]
    match item:
        case {"json": dict(event)} if "type" not in item:
            return event
        case {"event": dict(event), "settings": dict()}:
            return event
    return item

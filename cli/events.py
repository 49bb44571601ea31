"""Events out of files, in whatever shape they were kept.

Read are one event, an array, a batch (`{"batch": […]}`), API Gateway's payload as in events/, a preset of
events/presets, a failure record as in the queues, and JSON lines of any of these, gzipped or not.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

from cli.errors import CommandFailed, Exit
from handler.api.api_gateway import read_request
from handler.api.body import decode
from handler.model.errors import RequestRefused
from handler.model.strict_json import DECODER, describe_decode_error

_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".gz"})
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


def read_events(paths: Iterable[Path]) -> Iterator[tuple[str, Any]]:
    """Each event of files and directories, as it was sent, with its place: `file`, `file:line` or `file#number`.

    Lines are read as they are asked for. Raises CommandFailed, with the place, for what is not JSON or holds no event.
    """
    for path in event_files(paths):
        with _opened(path) as file:
            yield from _of_document(str(path), file.read()) if is_document(path) else events_in_lines(str(path), file)


def event_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that are meant: of a directory those below it that look like events, by name. Raises CommandFailed."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise CommandFailed(f"{path} holds no events", "they are in .json, .jsonl or .jsonl.gz files", Exit.USAGE)
        yield from found


def is_document(path: Path) -> bool:
    """Whether a file is one JSON document, by its name; anything else has one in each line."""
    return path.name.removesuffix(".gz").endswith(".json")


def events_in_lines(name: str, lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Each event of JSON lines; `name` is what they are called in places. Raises CommandFailed."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{name}:{number}"
            yield from _placed(place, _decoded(place, line))


def _of_document(name: str, document: bytes) -> Iterator[tuple[str, Any]]:
    return _placed(name, _decoded(name, document))


def _decoded(place: str, text: bytes) -> Any:
    try:
        return DECODER.decode(text.removeprefix(_BOM).decode().strip())
    except JSONDecodeError as error:
        # In a line, the line is said already; in a document, it is what one looks for.
        line = "" if error.lineno == 1 else f":{error.lineno}"
        raise CommandFailed(f"{place}{line} is not JSON: {describe_decode_error(error)}") from error
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{place} is not JSON: {describe_decode_error(error)}") from error


def _placed(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    events = _events(place, value)
    if len(events) == 1 and not isinstance(value, list):
        yield place, events[0]
        return
    for number, event in enumerate(events, 1):
        yield f"{place}#{number}", event


def _events(place: str, value: Any) -> list[Any]:
    match value:
        case {"requestContext": dict(), "rawPath": str()}:
            try:
                return decode(read_request(value).body()).events
            except (RequestRefused, KeyError) as error:
                raise CommandFailed(f"{place} is a payload of API Gateway that cannot be read: {error}") from error
        case {"batch": list(items)} | list(items):
            return [_unwrapped(item) for item in items]
        case dict():
            return [_unwrapped(value)]
    raise CommandFailed(f"{place} is neither an event nor an array of events")


def _unwrapped(item: Any) -> Any:
    """The event in Segment's `{"json": …}`, in a failure record, or in a preset."""
    match item:
        case {"json": dict(event)} if "type" not in item:
            return event
        case {"event": event, "failure": dict()} | {"event": dict(event), "settings": dict()}:
            return event
    return item


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked where they are gzip, whatever its name says. Raises CommandFailed."""
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[misc] # it reads like one
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CommandFailed(f"{path} cannot be unpacked: it is cut off or damaged") from error
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror or error}", code=Exit.USAGE) from error

"""Events out of files: every shape, and where a fault is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandFailed
from cli.events import read_events
from local.stack.samples import EVENTS
from tests.cli.conftest import event

ONE, TWO = event("e-1"), event("e-2")


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def read(*paths: Path) -> list[Any]:
    return [event for _, event in read_events(paths)]


CUT_OFF = gzip.compress(b"{}\n" * 9, mtime=0)[:-9]


@pytest.mark.parametrize(
    ("value", "events"),
    [
        (ONE, [ONE]),
        ([ONE, TWO], [ONE, TWO]),
        ({"batch": [ONE, TWO]}, [ONE, TWO]),
        ([{"json": ONE}, TWO], [ONE, TWO]),
        ([], []),
        ([ONE, 5], [ONE, 5]),
        ({"event": ONE, "source": "default", "failure": {"code": "x"}}, [ONE]),
        ({"event": ONE, "settings": {}, "title": "a preset"}, [ONE]),
    ],
)
def test_each_shape_of_a_document(tmp_path: Path, value: Any, events: list[Any]) -> None:
    assert read(written(tmp_path / "events.json", value)) == events


def test_samples_and_presets_are_read() -> None:
    found = dict(read_events([EVENTS]))
    assert found[f"{EVENTS}/identify.json"]["type"] == "identify"
    assert found[f"{EVENTS}/batch.json#2"]["messageId"] == "ajs-batch-2"
    assert found[f"{EVENTS}/presets/referral.json"]["type"] == "track"
    assert found[f"{EVENTS}/presets/orders.json"]["event"] == "Order Completed"


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz", "1467763200000.1.gz", "named-otherwise.jsonl"])
def test_json_lines_are_read_lazily(tmp_path: Path, name: str) -> None:
    lines = f"\ufeff{json.dumps(ONE)}\n\n{json.dumps([TWO, TWO])}\nno JSON\n".encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(lines) if name.endswith(".gz") or name.startswith("named") else lines)
    events = read_events([path])
    assert [next(events) for _ in range(3)] == [(f"{path}:1", ONE), (f"{path}:3#1", TWO), (f"{path}:3#2", TWO)]
    with pytest.raises(CommandFailed, match=rf"{name}:4 is not JSON: Expecting value"):
        next(events)


def test_exported_record_is_read_as_event(tmp_path: Path) -> None:
    record = {"event": "text", "source": "default", "failure": {"code": "invalid_event"}}
    assert read(written(tmp_path / "messages.jsonl", record)) == ["text"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", b'{\n"type": }', "a.json:2 is not JSON: Expecting value at line 2 column 9"),
        ("a.json", b"\xff\xfe", "a.json is not JSON: byte 0 is not UTF-8"),
        ("a.json", b'{"type": NaN}', "a.json is not JSON: NaN is not a JSON value"),
        ("a.json", b"5", "a.json is neither an event nor an array of events"),
        ("a.jsonl", b'{}\n"text"', "a.jsonl:2 is neither an event nor an array of events"),
        ("a.jsonl.gz", CUT_OFF, "a.jsonl.gz cannot be unpacked: it is cut off or damaged"),
        ("a.json", b'{"requestContext": {}, "rawPath": "/"}', "a.json is an API Gateway payload that cannot be read"),
    ],
)
def test_invalid_content_is_reported_with_its_place(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CommandFailed) as failed:
        read(path)
    assert failed.value.problem.startswith(f"{tmp_path}/{problem}")


def test_missing_file_and_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no events")
    with pytest.raises(CommandFailed, match="has no event files"):
        read(tmp_path)
    with pytest.raises(CommandFailed, match="No such file"):
        read(tmp_path / "nothing.json")

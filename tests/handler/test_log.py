"""Lines of the log, as they are written."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from handler.log import Log


def test_a_line_has_level_message_time_service_what_all_lines_have_and_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = Log("shop", "INFO")
    log.begin({"request_id": "r-1", "xray_trace_id": ""})
    before = datetime.now(UTC)
    log.write("WARNING", "slow", {"seconds": 3})
    line = json.loads(capsys.readouterr().out)
    assert 0 <= (datetime.fromisoformat(line.pop("timestamp")) - before).total_seconds() + 0.001 < 60
    assert line == {"level": "WARNING", "message": "slow", "service": "shop", "request_id": "r-1", "seconds": 3}


def test_a_later_request_has_nothing_of_an_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("shop", "INFO")
    log.begin({"request_id": "r-1", "xray_trace_id": "1-a"})
    log.begin({"request_id": "r-2", "xray_trace_id": ""})
    log.write("INFO", "request", {})
    line = json.loads(capsys.readouterr().out)
    assert line["request_id"] == "r-2"
    assert "xray_trace_id" not in line


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("shop", "WARNING")
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        log.write(level, level, {})
    assert [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()] == ["WARNING", "ERROR"]


def test_any_text_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Half of a surrogate pair, as cut text has it, cannot be written as UTF-8."""
    text = "\ud83e Zoë\n\x00\u2028🦊"
    Log("shop", "INFO").write("INFO", "request", {"message_id": text})
    written = capsys.readouterr().out
    assert written.isascii()
    assert written.count("\n") == 1
    assert json.loads(written)["message_id"] == text

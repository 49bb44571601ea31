"""Other people's text on a terminal and in a pipe: it cannot move the cursor, hide, or forge a line."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from cli.output import Output, escaped

HOSTILE = "\x1b[2J\x9b1mA\u202eB\r\nforged\tline\u2028\ud83e\x00\x7f\u2066"
SHOWN = "\\u001b[2J\\u009b1mA\\u202eB\\u000d\\u000aforged\\u0009line\\u2028\\ud83e\\u0000\\u007f\\u2066"


def test_unsafe_characters_are_escaped_and_others_are_not() -> None:
    assert escaped(HOSTILE) == SHOWN
    assert escaped("Zoë 🦊 日本 ✓ it's 50 %") == "Zoë 🦊 日本 ✓ it's 50 %"


def test_each_way_to_write_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.line(HOSTILE)
    output.fine(HOSTILE)
    output.wrong(HOSTILE)
    output.table(("a", "b"), [(HOSTILE, 1)])
    output.note(HOSTILE)
    written = capsys.readouterr()
    assert written.out.splitlines() == [SHOWN, f"✓ {SHOWN}", f"✗ {SHOWN}", "a\tb", f"{SHOWN}\t1"]
    assert written.err.splitlines() == [SHOWN]


@pytest.mark.parametrize("width", [80, 120])
def test_a_cell_that_is_copied_is_in_one_piece_on_a_terminal(width: int) -> None:
    output = Output(as_json=False)
    output.console = Console(file=StringIO(), force_terminal=True, width=width, soft_wrap=True)
    code = "voucherify_connection_lost"
    columns = ("code", "messages", "sources", "types", "oldest (UTC)", "newest (UTC)", "example")
    row = (
        code,
        12,
        "default, shop",
        "track, identify",
        *["2026-05-01 10:00"] * 2,
        "no answer from Voucherify: cut off",
    )
    output.table(columns, [row], unbroken="code")
    assert code in output.console.file.getvalue()  # type: ignore[attr-defined] # it is a StringIO


def test_a_json_document_is_escaped_and_stays_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    document = {HOSTILE: [HOSTILE, "Zoë"]}
    Output(as_json=True).result(document)
    Output(as_json=False).json_lines(document)
    written = capsys.readouterr().out
    assert not set(written) & set("\x1b\x9b\u202e\u2028\u2066\r\t")
    assert "Zoë" in written
    half = len(written) // 2
    assert [json.loads(written[:half]), json.loads(written[half:])] == [document] * 2


def test_an_advice_of_several_lines_stays_so(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).wrong("problem", "first\n  second")
    assert capsys.readouterr().out.splitlines() == ["✗ problem", "  first", "  second"]

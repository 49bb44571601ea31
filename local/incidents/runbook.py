"""What template.yaml says of an alarm, and the commands that docs/runbook.md has for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from local.incidents.incidents import Incident

ROOT = Path(__file__).parents[2]

COMMAND = "voucherify-destination"


@dataclass(frozen=True)
class Alarm:
    """An alarm's description, without its link, and the section of the runbook that the link leads to."""

    description: str
    anchor: str

    @classmethod
    def named(cls, name: str) -> Alarm:
        """Return an alarm of template.yaml by its logical id. Raises ValueError where there is none."""
        template = (ROOT / "template.yaml").read_text("utf-8")
        resource = template.partition(f"\n  {name}:\n")[2]
        description = r".*?AlarmDescription: (?:!Sub )?(?:>-)?(.*?)\S*docs/runbook\.md#([\w-]+)"
        found = re.match(description, resource, re.DOTALL)
        if not found:
            raise ValueError(f"template.yaml has no alarm {name} with a link into the runbook")
        return cls(" ".join(found[1].split()), found[2])


@dataclass(frozen=True)
class WayOut:
    """The commands of the runbook for one incident, each without the name of the program."""

    cause: list[list[str]]
    fix: list[list[str]]
    over: list[list[str]]

    @classmethod
    def of(cls, incident: Incident, message_id: str) -> WayOut:
        """Read the commands of the incident's section, for a person who looks at the event `message_id`.

        A part of the fix that begins with another code is left out.
        """
        values = {"CODE": incident.code, "MESSAGE_ID": message_id, **incident.values}
        text = section(Alarm.named(incident.alarm).anchor)
        before_fix, _, rest = text.partition("**The fix")
        fix, _, over = rest.partition("**It is over")
        cause = before_fix.partition("**The cause")[2]
        parts = [part for part in re.split(r"^- ", fix, flags=re.MULTILINE) if _concerns(part, incident.code)]
        return cls(*(list(commands(part, values)) for part in (cause, "".join(parts), over)))


def section(anchor: str) -> str:
    """Return the text of a section of the runbook. Raises ValueError where there is none."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    for part in re.split(r"^## ", runbook, flags=re.MULTILINE):
        heading, _, text = part.partition("\n")
        if heading.lower().replace(" ", "-") == anchor:
            return text
    raise ValueError(f"docs/runbook.md has no section #{anchor}")


def commands(text: str, values: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the arguments of each command of the program in the shell blocks of a text, with its placeholders filled.

    Placeholders are in capitals, such as CODE. Comments are left out.
    """
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in map(str.strip, block.splitlines()):
            if line.startswith(f"{COMMAND} "):
                _, *arguments = shlex.split(line, comments=True)
                yield [values.get(argument, argument) for argument in arguments]


def _concerns(part: str, code: str) -> bool:
    own = re.match(r"`(\w+)`", part)
    return own is None or own[1] == code

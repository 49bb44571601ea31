"""`make incident`: stage an incident on this machine, for a person who finds its cause and its end by the runbook."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from local.incidents.incidents import INCIDENTS, Incident
from local.incidents.runbook import COMMAND, Alarm, WayOut
from local.incidents.staging import Rehearsal, rehearsal
from local.stack.system import LocalSystem, Ports, PortTaken, local_system

DEFAULT_PORT = 8080  # that of `make serve`, which `--local` means

_BY_NAME = {incident.name: incident for incident in INCIDENTS}


def list_incidents(console: Console) -> None:
    console.print("Incidents to rehearse: make incident NAME=…\n", style="bold")
    for incident in INCIDENTS:
        console.print(f"  {incident.name:16} {incident.happened}")


def introduce(incident: Incident, way_out: WayOut, system: LocalSystem, port: int, console: Console) -> None:
    """Print what happened, what an operator is told, and the commands of the runbook."""
    alarm = Alarm.named(incident.alarm)
    console.print(f"{incident.name}: {incident.happened}", style="bold")
    console.print(f"  Events   {system.url}/events; their messageIds are {incident.name}-1 to -{incident.events}")
    console.print(f"  Alarm    {incident.alarm}: {alarm.description}", style="red")
    console.print(f"  Runbook  docs/runbook.md#{alarm.anchor}")
    for step, commands in (
        ("Find the cause, in another terminal", way_out.cause),
        ("Fix it", way_out.fix),
        ("See that it is over", way_out.over),
    ):
        console.print(f"\n{step}:", style="bold")
        for arguments in commands:
            console.print(f"  {shown(arguments, port)}", style="cyan")
        if not commands:
            console.print("  nothing to do here: see the runbook")
        elif incident.answer and commands is way_out.fix:
            console.print(f"  where it asks, type {incident.answer}")


def shown(arguments: Sequence[str], port: int) -> str:
    """Return a command as a person types it for the local system."""
    local = ["--local"] if port == DEFAULT_PORT else ["--local", "--port", str(port)]
    return shlex.join([COMMAND, *arguments, *local])


def rehearse(incident: Incident, staged: Rehearsal, console: Console) -> None:
    """Show where the events are, and let an hour pass at each Enter until the incident is over."""
    started = time.monotonic()
    outside = f" {incident.recovery[0].upper()}{incident.recovery[1:]} in this hour." if incident.recovery else ""
    console.print(f"\n{staged.state}")
    console.print("Enter lets an hour pass, in which Segment and the retry worker try again." + outside)
    console.print("Ctrl-C ends the rehearsal.", style="dim")
    while not staged.state.is_over:
        input()
        staged.let_an_hour_pass()
        console.print(f"An hour later: {staged.state}")
    console.print(f"✓ The incident is over, after {time.monotonic() - started:.0f} seconds.", style="green bold")
    console.print("The system runs on, so that you can see it. Enter ends it.")
    with suppress(KeyboardInterrupt, EOFError):
        input()


def main(arguments: list[str]) -> int:
    """Return 0 if the incident is over, or listed; 1 if it could not be staged or was left before its end."""
    parser = argparse.ArgumentParser(prog="make incident", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(_BY_NAME), help="the incident; without it they are listed")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the HTTP server, as for make serve")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not options.name:
        list_incidents(console)
        return 0
    incident, port = _BY_NAME[options.name], options.port
    os.environ.update(POWERTOOLS_LOG_LEVEL="CRITICAL", POWERTOOLS_METRICS_DISABLED="true")
    for name in ("VOUCHERIFY_API_KEY", "VOUCHERIFY_API_TOKEN"):  # a rehearsal never calls a real project
        os.environ.pop(name, None)
    try:
        with (
            local_system(Ports(front=port, aws=port + 1, voucherify=port + 2)) as system,
            rehearsal(system, incident) as staged,
        ):
            introduce(incident, WayOut.of(incident, staged.message_id), system, port, console)
            rehearse(incident, staged, console)
    except PortTaken as taken:
        console.print(f"Cannot start: {taken}. If that is make serve, stop it,", style="red")
        console.print(f"or choose another: make incident NAME={incident.name} PORT={port + 100}", style="red")
        return 1
    except (KeyboardInterrupt, EOFError):
        console.print("\nThe incident is not over.", style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

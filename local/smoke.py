"""`make smoke`: run the smoke test of the command line against the whole system on this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from cli.commands.smoke import run
from cli.errors import Exit
from cli.output import Output
from cli.target import Target
from local.stack.poller import polling
from local.stack.system import Ports, local_system

# A changed setting is in force sooner than after a minute.
_SETTINGS_TTL_SECONDS = "1"


def main() -> int:
    """Return the exit code of `voucherify-destination smoke`."""
    os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")  # the lines below say it all
    os.environ.setdefault("POWERTOOLS_METRICS_DISABLED", "true")
    os.environ["SETTINGS_TTL_SECONDS"] = _SETTINGS_TTL_SECONDS
    output = Output(as_json=False)
    starting = output.console.status("Starting AWS (moto), the Voucherify stub and the HTTP server")
    try:
        with starting, local_system(Ports()) as system, polling(system.aws):
            starting.stop()
            target = Target.local_at(system.url, system.aws.url)
            known = {**target.known, "SettingsTtlSeconds": _SETTINGS_TTL_SECONDS}
            is_fine = run(replace(target, known=known), output)
    except KeyboardInterrupt:
        print("✗ interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    output.note("Only AWS can also answer for permissions, encryption, and how soon SQS starts the retry worker.")
    return Exit.FINE if is_fine else Exit.WRONG


if __name__ == "__main__":
    sys.exit(main())

"""The entry point. It imports the commands itself, since that takes a second in which a person may press Ctrl-C."""

from __future__ import annotations

import os
import sys

from cli.interruption import INTERRUPTED, handle_interrupts


def main() -> None:
    """Run the command line."""
    handle_interrupts()
    try:
        from cli.main import app
    except KeyboardInterrupt:
        print("✗ interrupted: nothing was changed", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    app()


if __name__ == "__main__":
    main()

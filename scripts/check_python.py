"""End the installation where this Python is not one that pyproject.toml names. Runs on any Python 3.6 or later.

python scripts/check_python.py
"""

import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def main() -> None:
    """Raise SystemExit where the pinned packages do not support this Python."""
    found = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', PYPROJECT.read_text("utf-8"), re.MULTILINE)
    if not found:
        sys.exit(f"{PYPROJECT} has no requires-python such as '>=3.11,<3.15'")
    first, last = int(found[1]), int(found[2]) - 1
    if not (3, first) <= sys.version_info[:2] <= (3, last):
        sys.exit(
            "{} is Python {}.{}, but the pinned packages need 3.{} to 3.{}. Choose one of these, for example: "
            "make run PYTHON=python3.13".format(sys.executable, *sys.version_info[:2], first, last)
        )


if __name__ == "__main__":
    main()

"""Print the name of a stage's stack: `python -m scripts.stack_name prod`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

print(tomllib.loads(Path("samconfig.toml").read_text("utf-8"))[sys.argv[1]]["deploy"]["parameters"]["stack_name"])

"""Print the peak memory of this process in bytes. It imports little else.

python -m local.bench.peak                        import boto3 and make one client
python -m local.bench.peak handler 9900 100 50    deliver 9,900 identifies and 100 tracks, 50 a request
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def make_one_client() -> None:
    """Do the work of the floor."""
    import boto3

    boto3.client("ssm")


def deliver(identifies: int, tracks: int, size: int) -> None:
    """Deliver events in requests of `size`, and discard the output. Raises RuntimeError where the function does not."""
    from handler.app import lambda_handler
    from local.bench.events import identify, proxied, settings_path, track
    from local.stack.front import LambdaContext

    os.environ["SETTINGS_PATH"] = settings_path(0)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 # open until the process ends
    for kind, count in ((identify, identifies), (track, tracks)):
        for first in range(0, count, size):
            numbers = range(first, min(first + size, count))
            answer = lambda_handler(proxied([kind(number) for number in numbers]), LambdaContext())
            if answer["statusCode"] not in {200, 202}:
                raise RuntimeError(answer["body"])


def peak_bytes() -> int:
    """Return the peak of this process. On Linux `getrusage` may return that of its parent, from which it was made."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
    (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def main() -> None:
    terminal = sys.stdout
    with suppress(ImportError):  # installed on Linux only
        import_module("awslambdaric.bootstrap")  # Lambda's runtime, a part of every function
    if sys.argv[1:2] == ["handler"]:
        deliver(*map(int, sys.argv[2:]))
    else:
        make_one_client()
    print(peak_bytes(), file=terminal)


if __name__ == "__main__":
    main()

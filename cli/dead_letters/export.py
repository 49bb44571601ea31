"""Writes messages to a file of JSON lines that only its owner may read."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cli.dead_letters.messages import QueueMessage
from cli.errors import CommandFailed, Exit


@contextmanager
def export_file(path: Path) -> Iterator[Callable[[QueueMessage], object]]:
    """Create a file, gzipped if its name ends in .gz, and yield a function that writes a message as one line.

    At the end everything is on disk. After an error the file is removed. Raises CommandFailed.
    """
    try:
        # Mode 600 from the start: it holds personal data.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CommandFailed(f"{path} already exists", "name another file", Exit.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}", code=Exit.USAGE) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb") if path.suffix == ".gz" else nullcontext(file) as lines:
                yield lambda message: lines.write(f"{_line(message)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _line(message: QueueMessage) -> str:
    """Return a failure record as it is in the queue, so that it can be sent again; any other body as a JSON string."""
    if message.record is None:
        return json.dumps(message.body)
    return message.body if "\n" not in message.body else json.dumps(json.loads(message.body))

"""Letters into a file of JSON lines that only its owner may read."""

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
def letter_file(path: Path) -> Iterator[Callable[[QueueMessage], None]]:
    """Writes each letter's record as a line of a new file, gzipped where its name ends in .gz.

    At its end everything is on disk; a file that was broken off is removed. Raises CommandFailed.
    """
    try:
        # Mode 600 from its first moment on: it holds personal data.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CommandFailed(f"{path} is there already", "name another file", Exit.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}", code=Exit.USAGE) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb") if path.suffix == ".gz" else nullcontext(file) as lines:

                def write(letter: QueueMessage) -> None:
                    lines.write(f"{_line(letter)}\n".encode())

                yield write
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _line(letter: QueueMessage) -> str:
    """The record as it is in the queue, so that it can be sent there again; other text as a JSON string."""
    if letter.record is None:
        return json.dumps(letter.body)
    return letter.body if "\n" not in letter.body else json.dumps(json.loads(letter.body))

"""Ctrl-C ends every command within two seconds, whatever the command waits for.

The first Ctrl-C raises KeyboardInterrupt. The command then has CLEANUP_SECONDS to leave things in order and to say what
was done, and is interrupted once more. After END_SECONDS the process ends, so that neither a thread which waits for a
peer holds it up, nor an interrupt that Python has lost in a finalizer.

A command that would leave a deployed stack changed has no countdown: `finish_cleanup`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

CLEANUP_SECONDS = 1.0
END_SECONDS = 1.7

INTERRUPTED = 130  # 128 and the number of the signal, as shells have it

_is_own_process = threading.Event()
_said = threading.Event()
_finishes_cleanup = threading.Event()


def handle_interrupts() -> None:
    """Let Ctrl-C interrupt the main thread, and begin the countdown: this process runs one command."""
    _is_own_process.set()
    signal.signal(signal.SIGINT, _interrupt)


def finish_cleanup() -> None:
    """Let the first Ctrl-C end the command however long its cleanup takes; a second one interrupts that too."""
    _finishes_cleanup.set()


def begin_countdown() -> None:
    """Interrupt the main thread again after CLEANUP_SECONDS, and end the process after END_SECONDS.

    A process that runs a command among other things, as the tests do, goes on.
    """
    if not _is_own_process.is_set():
        return
    for seconds, action in ((CLEANUP_SECONDS, _interrupt_again), (END_SECONDS, _end)):
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()


def has_said_how_it_ended() -> None:
    """Tell the countdown that nothing is left to do but to end."""
    sys.stdout.flush()
    _said.set()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    if not _finishes_cleanup.is_set():
        begin_countdown()
    raise KeyboardInterrupt


def _interrupt_again() -> None:
    if not _said.is_set():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _end() -> NoReturn:
    if not _said.is_set():
        print("✗ interrupted in the middle of a step\n  run the same command to continue", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)

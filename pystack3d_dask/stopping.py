"""What Ctrl-C, and the signal that batch systems send before the time is over, do to a command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130  # exit status
STOPPED = "interrupted: what was finished stays valid, the same command continues"
STDERR = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the first signal interrupt what runs, and the second one end the process at once.

    An interrupted command drops what is in flight, stops its workers and releases its lock. Where
    it is not waited for, workers end by themselves, and the next run removes what was left.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(each, _interrupt) for each in SIGNALS]
    try:
        yield
    finally:
        is_ending = signal.getsignal(signal.SIGINT) is _end
        for each, handler in zip(SIGNALS, before, strict=True):
            # a second signal must not change how a command ends that is about to
            signal.signal(each, signal.SIG_IGN if is_ending else handler)


def _interrupt(*_: Any) -> None:
    for each in SIGNALS:
        signal.signal(each, _end)
    raise KeyboardInterrupt


def _end(*_: Any) -> None:
    os.write(STDERR, f"{STOPPED}\n".encode())  # print may be in the middle of it
    os._exit(INTERRUPTED)

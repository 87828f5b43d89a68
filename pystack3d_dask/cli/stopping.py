"""Ends commands when they are told to: by Ctrl-C, or by batch systems before the time is over.

It imports next to nothing: from when it is there, a signal does what is written here, also while
a command still imports all that it computes with.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130  # exit status
STOPPED = "interrupted: what was finished stays valid, the same command continues"
PATIENCE = 4.0  # seconds that a command may take to put things in order
RETRY = 0.02  # seconds until an interrupt that was lost comes again
STDERR = 2
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[K", "\x1b[?25h"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal has told the command to end.

    Not `KeyboardInterrupt` itself: where that leaves a string that is executed, as in the making
    of a data class, the interpreter takes it for one that nobody handled. Whatever status
    ``python -m`` exits with, it then dies of the signal.
    """


class _Signals:
    """What is known of the command that signals would end."""

    orderly = 0  # how many contexts it is in that have something to put in order
    is_ending = False  # it was told to
    was_lost = False  # the interrupt came where it cannot be passed on


def listen() -> None:
    """Have signals end this process, from now on; for the main thread."""
    for each in SIGNALS:
        signal.signal(each, _end_or_interrupt)


def ignore_signals_at_exit() -> None:
    """Ignore signals once a command is done. Call it before anything else uses `atexit`.

    The callback that is registered first runs last. After it, the interpreter restores the default
    handlers: without this, a late signal would kill a command that has done its work.
    """
    for each in SIGNALS:
        atexit.register(signal.signal, each, signal.SIG_IGN)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals end what runs, with status 130; in other threads than the main one do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.getsignal(each) for each in SIGNALS]
    _Signals.is_ending = False
    listen()
    try:
        yield
    finally:
        for each, handler in zip(SIGNALS, before, strict=True):
            # a second signal must not change how a command ends that is about to
            signal.signal(each, signal.SIG_IGN if _Signals.is_ending else handler)


@contextmanager
def orderly() -> Iterator[None]:
    """Have the first signal raise `Interrupted`: there is something to put in order.

    An interrupted command drops what is in flight, stops its workers and releases its lock. If
    that takes long, or at a second signal, the process ends all the same: the next run removes
    what was left. Outside such a context the first signal ends the process, and the processes
    that it has started: an exception might be swallowed by what is being imported or collected.
    """
    _Signals.orderly += 1
    try:
        yield
    finally:
        _Signals.orderly -= 1
    if _Signals.is_ending:
        raise Interrupted  # what the signal raised was swallowed on its way


def _end_or_interrupt(*_: Any) -> None:
    if (_Signals.is_ending and not _Signals.was_lost) or not _Signals.orderly:
        _end()
    if not _Signals.is_ending:
        threading.Thread(target=_end_later, daemon=True).start()
    _Signals.is_ending, _Signals.was_lost = True, False
    sys.unraisablehook = _interrupt_again
    raise Interrupted


def _interrupt_again(unraisable: Any) -> None:
    """Interrupt once more, a little later: where an object is collected, nothing is passed on."""
    if issubclass(unraisable.exc_type, Interrupted):
        _Signals.was_lost = True
        threading.Thread(target=_interrupt_later, daemon=True).start()


def _interrupt_later() -> None:
    time.sleep(RETRY)
    main = threading.main_thread().ident
    if not (_Signals.was_lost and _Signals.orderly):
        return  # another one came meanwhile, or all is in order
    if sys.platform == "win32" or main is None:
        signal.raise_signal(signal.SIGINT)
    else:
        signal.pthread_kill(main, signal.SIGINT)  # which wakes it, if it waits


def _end_later() -> None:
    time.sleep(PATIENCE)
    _end()


def _end() -> None:
    try:
        _kill_children()
        # print may be in the middle of it, and a line that moves has hidden the cursor
        clean = CLEAR_LINE + SHOW_CURSOR if os.isatty(STDERR) else ""
        os.write(STDERR, f"{clean}{STOPPED}\n".encode())
    finally:
        os._exit(INTERRUPTED)


def _kill_children() -> None:
    """Kill what this process has started, but for who clears up what they leave."""
    psutil: Any = sys.modules.get("psutil")  # without it there are no workers
    if not hasattr(psutil, "process_iter"):
        return
    children = []
    for child in psutil.Process().children(recursive=True):
        try:
            if not any("resource_tracker" in word for word in child.cmdline()):
                children.append(child)
        except psutil.Error:
            continue
    for child in children:
        try:
            child.kill()
        except psutil.Error:
            continue

"""A sign of life where nothing can be counted: while modules are imported, headers are read."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.3  # seconds without a sign; what is done by then needs none


@contextmanager
def waiting(what: str, after: float = PATIENCE) -> Iterator[None]:
    """Tell on standard error what is being waited for, if it takes longer than that.

    In a terminal it is a line that moves and goes away in the end, else a plain line.

    Parameters
    ----------
    what : str
        Such as ``starting 2 workers``.
    after : float
        Seconds; with 0 it is told in any case.
    """
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(what, after, done), daemon=True, name="waiting")
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(what: str, after: float, done: threading.Event) -> None:
    if done.wait(after) and after:
        return
    if not sys.stderr.isatty():
        print(f"{what}...", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    console = Console(stderr=True)
    line = Spinner("dots", f"{what}...")
    with Live(line, console=console, transient=True, redirect_stdout=False):
        done.wait()

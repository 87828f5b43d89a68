"""Imports without collections of garbage, which would take a tenth of their time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Make objects that all stay, as imports do: the collector never looks through them."""
    if not gc.isenabled():  # something around this sees to it
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

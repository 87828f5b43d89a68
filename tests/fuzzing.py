"""How fuzz tests run: how many cases, what stops a case, and which errors are good ones."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings

from pystack3d_dask.errors import StackError, explain

T = TypeVar("T")

EXAMPLES = int(
    os.environ.get("FUZZ_EXAMPLES", "0")
)  # of each test; by default few, always the same
HANGS = 120.0  # seconds after which a case counts as hanging
ADDRESSES = 4 * 2**30  # bytes that a case may reserve beside what the process has
MEMORY = re.compile("MemoryError|Unable to allocate|RecursionError")
UNFORESEEN = re.compile(r": [A-Z]\w*(Error|Exception|Warning)\b")
DAMAGED = ("header is damaged: ", "values that are no gray levels: ", "the pixels cannot be read: ")


def cases(count: int) -> settings:
    """Return how a test runs in CI, with ``count`` cases, or with those that are asked for."""
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def watched() -> Iterator[None]:
    """End the process, with a traceback, if a case hangs; refuse it more memory than it may use."""
    faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
    try:
        with _limited():
            yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _limited() -> Iterator[None]:
    size = Path("/proc/self/statm")
    if not size.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(size.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def explained(action: Callable[[], T], *culprits: str) -> T | None:
    """Return what an action gives; None if it fails with a message that names a culprit."""
    try:
        return action()
    except (StackError, OSError) as error:
        message = explain(error) if isinstance(error, OSError) else str(error)
    assert any(culprit in message for culprit in culprits), message
    assert not MEMORY.search(message), message
    for line in message.splitlines():
        assert not UNFORESEEN.search(line) or any(each in line for each in DAMAGED), message
    return None

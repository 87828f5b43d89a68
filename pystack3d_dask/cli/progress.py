"""How far a run is: bars in terminals and notebooks, a line now and then in logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pystack3d_dask.core.formatting import duration, short

if TYPE_CHECKING:
    from distributed import Client
    from rich.console import Console
    from rich.table import Column

    from pystack3d_dask.engine.run import BlockDone, OnBlock

SECONDS = 30.0  # between lines in a log
BAR, REST = 16, 64  # characters of a bar, and of all that stands behind a title

Show = Callable[[Any, str, int, int], None]


@contextmanager
def show_progress(
    client: Client | None = None, console: Console | None = None
) -> Iterator[OnBlock]:
    """Show the passes of a run: for each a bar, slices per second, and the time left.

    Where there is no terminal and no notebook, a line when a pass begins, and then every half
    minute.

    Parameters
    ----------
    client : distributed.Client, optional
        The cluster; the addresses of its scheduler and dashboard are told first.
    console : rich.console.Console, optional
        Where to; standard error by default.

    Yields
    ------
    callable
        What `Pipeline.run` and `Pipeline.fit` call after each block.

    Examples
    --------
    >>> with show_progress(client) as show:  # doctest: +SKIP
    ...     pipeline.run(client=client, on_block=show)
    """
    with _rows(console, "slices") as rows:
        if client is not None:
            rows.tell(f"scheduler: {client.scheduler.address}")
            if client.dashboard_link:
                rows.tell(f"dashboard: {client.dashboard_link}")

        def show(event: BlockDone) -> None:
            title = f"pass {event.number}/{event.count} {event.label}"
            is_new = event.receipt is not None
            rows.show(event.number, title, event.slices_done, event.slices_in_pass, is_new=is_new)

        yield show


@contextmanager
def bars(unit: str, console: Console | None = None) -> Iterator[Show]:
    """Yield what shows progress: called with a key, a title, how many are done and how many are.

    Parameters
    ----------
    unit : str
        What is counted, in the plural.
    console : rich.console.Console, optional
        Where to; standard error by default.
    """
    with _rows(console, unit) as rows:
        yield rows.show


@contextmanager
def _rows(console: Console | None, unit: str) -> Iterator[_Bars | _Lines]:
    from rich.console import Console

    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield _Lines(console, unit)
        return
    found = _Bars(console, unit)
    with found.progress:
        yield found


class _Bars:
    """A bar for each key."""

    def __init__(self, console: Console, unit: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description}", table_column=_cut(console.width - REST)),
            BarColumn(BAR),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self._unit = unit
        self._tasks: dict[Any, Any] = {}
        # it moves until there is something to count
        self._begin = self.progress.add_task("preparing", total=None, speed="")

    def tell(self, line: str) -> None:
        self.progress.console.print(line, highlight=False, soft_wrap=True)

    def show(self, key: Any, title: str, done: int, total: int, *, is_new: bool = True) -> None:
        self.progress.update(self._begin, visible=False)
        if key not in self._tasks:
            self._tasks[key] = self.progress.add_task(title, total=total, speed=self._unit)
        task = self._tasks[key]
        if is_new:
            self.progress.update(task, completed=done)
            speed = next(each for each in self.progress.tasks if each.id == task).speed
            text = self._unit if speed is None else _rate(speed, self._unit)
            self.progress.update(task, speed=text)
        else:  # what was done before says nothing about the speed
            self.progress.reset(task, completed=done, speed=self._unit)


def _cut(width: int) -> Column:
    """Return a column whose text is cut rather than that what follows gets no room."""
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis", max_width=max(16, width))


class _Lines:
    """A line when something begins, and then now and then."""

    def __init__(self, console: Console, unit: str) -> None:
        self._console, self._unit = console, unit
        self._begun: dict[Any, tuple[float, int]] = {}
        self._told = 0.0

    def tell(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def show(self, key: Any, title: str, done: int, total: int, *, is_new: bool = True) -> None:
        now = time.monotonic()
        if key not in self._begun:
            self.tell(title)
            self._told = now
            self._begun[key] = now, 0
        if not is_new:
            self._begun[key] = now, done
        elif now - self._told >= SECONDS and done < total:
            started, before = self._begun[key]
            speed = (done - before) / (now - started)
            left = duration((total - done) / speed)
            self.tell(f"{title}: {done}/{total} {_rate(speed, self._unit)}, {left} left")
            self._told = now


def _rate(speed: float, unit: str) -> str:
    return f"{unit}, {short(speed)}/s"

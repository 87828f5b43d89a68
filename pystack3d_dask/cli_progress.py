"""What commands show while they work, and when a run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pystack3d_dask.summary import RunSummary


def show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Print a warning; stands in for `warnings.showwarning`."""
    click.echo(f"warning: {message}", err=True)


def print_summary(summary: RunSummary) -> None:
    """Print what a run has done."""
    from dask.utils import format_bytes

    from pystack3d_dask.summary import bad_slice_note

    for number, item in enumerate(summary.passes, start=1):
        click.echo(
            f"pass {number}  {item.label}: {item.tasks} tasks, {item.seconds:.1f} s, "
            f"read {format_bytes(item.bytes_read)}, wrote {format_bytes(item.bytes_written)}"
        )
    for bad in summary.bad_slices:
        click.echo(f"note: {bad_slice_note(bad)}", err=True)
    for remark in summary.remarks:
        click.echo(f"note: {remark}", err=True)
    click.echo(f"result: {summary.result} ({summary.seconds:.1f} s)")


@contextmanager
def progress() -> Iterator[Callable[[Any], None]]:
    """Yield what shows finished blocks of passes."""
    with bars() as show:

        def on_block(event: Any) -> None:
            title = f"pass {event.number}/{event.count} {event.label}"
            show(event.number, title, event.done, event.blocks)

        yield on_block


@contextmanager
def bars() -> Iterator[Callable[[Any, str, int, int], None]]:
    """Yield what shows progress, by key: bars in a terminal, a line for each title elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    shown: dict[Any, Any] = {}
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as rows:

        def show(key: Any, title: str, done: int, total: int) -> None:
            if key not in shown:
                shown[key] = rows.add_task(title, total=total)
                if not console.is_terminal:
                    click.echo(title, err=True)
            rows.update(shown[key], completed=done)

        yield show

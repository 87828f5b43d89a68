"""What commands print: warnings, and what a run has done."""

from __future__ import annotations

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

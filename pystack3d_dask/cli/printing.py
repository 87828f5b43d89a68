"""What commands print: warnings, and what a run has done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pystack3d_dask.engine.summary import RunSummary


def show_error(message: object) -> None:
    """Print what a command ends with."""
    click.echo(f"error: {message}", err=True)


def show_usage_error(error: click.ClickException) -> None:
    """Print what is wrong with a command line, as other errors, and how to use the command."""
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
        click.echo(f"`{context.command_path} --help` tells more", err=True)
    show_error(error.format_message())


class ShowRecord(logging.Handler):
    """Prints what the package logs, as warnings and errors are printed."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        click.echo(f"{level}: {record.getMessage()}", err=True)


def show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Print a warning; stands in for `warnings.showwarning`."""
    click.echo(f"warning: {message}", err=True)


def print_summary(summary: RunSummary) -> None:
    """Print what a run has done."""
    from pystack3d_dask.core.formatting import in_units
    from pystack3d_dask.engine.summary import bad_slice_note

    for number, item in enumerate(summary.passes, start=1):
        click.echo(
            f"pass {number}  {item.label}: {item.tasks} tasks, {item.seconds:.1f} s, "
            f"read {in_units(item.bytes_read)}, wrote {in_units(item.bytes_written)}"
        )
    for bad in summary.bad_slices:
        click.echo(f"note: {bad_slice_note(bad)}", err=True)
    for remark in summary.remarks:
        click.echo(f"note: {remark}", err=True)
    click.echo(f"result: {summary.result} ({summary.seconds:.1f} s)")

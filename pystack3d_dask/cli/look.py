"""Commands that look at some slices before a run: preview, sweep, suggest."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pystack3d_dask.cli.project import PROJECT, STEPS, open_pipeline
from pystack3d_dask.cli.waiting import waiting
from pystack3d_dask.core.formatting import short
from pystack3d_dask.errors import ParameterError, Problem

if TYPE_CHECKING:
    from pystack3d_dask.preview.preview import Preview

AREA = click.option(
    "--area",
    type=int,
    nargs=4,
    metavar="XMIN XMAX YMIN YMAX",
    help="Part of the slice, in pixels of the result, origin bottom left.",
)
STEP = click.option("--step", help="Stop after this step.")


SLICE_HELP = (
    "Index of the slice, from 0, in what the last step shown leaves; the middle one by default. "
    "With ind_min or a resampling this is not the number that the slice has in the source."
)


@click.command()
@PROJECT
@click.option("--z", type=int, help=SLICE_HELP)
@AREA
@STEP
@STEPS
@click.option(
    "--png",
    "--output",
    "png",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The picture; in the directory process of the project by default.",
)
def preview(
    project: Path,
    z: int | None,
    area: tuple[int, int, int, int] | None,
    step: str | None,
    steps: str | None,
    png: Path | None,
) -> None:
    """Print and draw what corrections make of one slice, before and after.

    Fits are those that runs have found; others are estimated from some slices, and named.
    """
    pipeline = open_pipeline(project, steps)
    with waiting("taking a slice through the corrections"):
        shown = pipeline.preview(z=z, area=area, step=step)
        lines = _described(shown)
    for line in lines:
        click.echo(line)
    default = (
        pipeline.project.workspace.process / f"preview_{Path(shown.name).stem}_{shown.step}.png"
    )
    with waiting("drawing it"):
        written = shown.save(png or default)
    click.echo(f"wrote {written}")


@click.command()
@PROJECT
@click.argument("values", nargs=-1, required=True, metavar="PATH=VALUE,VALUE...")
@click.option("--z", help="Indices of slices in the result, such as 10,20; the middle one.")
@AREA
@STEP
@STEPS
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw the first slice, too."
)
def sweep(
    project: Path,
    values: Sequence[str],
    z: str | None,
    area: tuple[int, int, int, int] | None,
    step: str | None,
    steps: str | None,
    png: Path | None,
) -> None:
    """Compare parameters on some slices: figures of each combination, and the best one.

    PATH leads to a parameter, as in destriping.filters[0].noise_level=10,30,100; values are
    written as in the parameter file.

    Figures are means over the slices. along, across: what varies along stripes, and across them,
    over what varies in any direction; stripes lift across above 1, and a filter that takes too
    much drops it below. sharpness: energy of the gradient over the variance. histogram_distance,
    ncc: how far gray levels are from those of the neighboring slice, and how well both correlate.
    score: ncc less histogram_distance; the best has the largest.
    """
    grid = dict(map(_parsed, values))
    slices = None if z is None else _list("--z", z)
    if not all(isinstance(each, int) for each in slices or ()):
        raise ParameterError([Problem("--z", f"whole numbers expected, found {z!r}")])
    pipeline = open_pipeline(project, steps)
    with waiting("taking slices through the corrections"):
        found = pipeline.sweep(grid, z=slices, area=area, step=step)
    click.echo(str(found))
    if png is not None:
        with waiting("drawing the first slice"):
            written = found.save(png)
        click.echo(f"wrote {written}")


@click.command()
@PROJECT
@STEPS
def suggest(project: Path, steps: str | None) -> None:
    """Print parameters that some slices suggest, as lines for the parameter file."""
    from pystack3d_dask.preview.suggest import suggest

    pipeline = open_pipeline(project, steps)
    with waiting("looking at slices"):
        found = suggest(pipeline.project)
    click.echo(found)


def _described(shown: Preview) -> list[str]:
    lines = [f"{shown.name}, after {shown.step}"]
    lines += [f"note: {label}" for label in shown.labels]
    for channel, figures in shown.figures().items():
        lines.append(f"{channel if len(shown.channels) > 1 else '':12}{'before':>10}{'after':>10}")
        lines += [
            f"{name:12}{short(one, 4):>10}{short(other, 4):>10}"
            for name, (one, other) in figures.items()
        ]
    return lines


def _parsed(text: str) -> tuple[str, list[Any]]:
    path, equals, values = text.partition("=")
    if not equals:
        raise ParameterError([Problem(text, "PATH=VALUE,VALUE... expected")])
    return path.strip(), _list(path, values)


def _list(path: str, text: str) -> list[Any]:
    """Return values as TOML writes them, separated by commas; bare words are texts."""
    for written in (text, ",".join(f'"{word.strip()}"' for word in text.split(","))):
        try:
            return list(tomllib.loads(f"values = [{written}]")["values"])
        except tomllib.TOMLDecodeError as error:
            reason = error
    raise ParameterError([Problem(path, f"values as in TOML expected, found {text!r}: {reason}")])

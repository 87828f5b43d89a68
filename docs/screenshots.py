"""Make the pictures of the README from demonstration stacks.

    PYTHONPATH=tests python docs/screenshots.py docs/images

Corrects an electrode and tissue on four workers, which takes about a minute, and photographs the
dashboard meanwhile and the report afterwards, in the browser that the tests of the report use.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urljoin

import matplotlib
import numpy as np
import xarray as xr
from browsers import MISSING, Browser, browser, has_browser
from distributed import Client
from PIL import Image
from processes import wait_for

import pystack3d_dask as ps
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.demo import DemoStack
from pystack3d_dask.engine.run import BlockDone, OnBlock
from pystack3d_dask.explore.drawing import (
    COLORS,
    INK,
    Limits,
    Picture,
    draw_plane,
    frame,
    label,
)
from pystack3d_dask.explore.gray import histogram_of
from pystack3d_dask.explore.volume import Plane, as_volume, gray_limits, load
from pystack3d_dask.viz.scale_bar import draw_scale_bar

NAMES = ("slice.png", "planes.png", "dashboard.png", "report.png")

ELECTRODE = DemoStack(shape=(40, 512, 512))
TISSUE = DemoStack(shape=(160, 512, 512), texture="cellular")
CHANNEL = "ESB"
WORKERS = 4
WATCHED = "fit of registration_calculation"  # the pass that takes longest
ENOUGH = 2  # of its blocks, before it is photographed
SECTION = "intensity_rescaling"  # of the report

GRAYS = 14  # in which planes are drawn: files are large for the noise in the last bits
DPI = 100
VOXEL = 0.75  # pixels, of planes
GAP = 0.08  # inches
LETTERS = 13  # points

REPORT_SIZE = (1280, 720)
STATUS_SIZE = (1100, 720)
MARGIN = 20  # pixels
# begins the task stream with the first task, and returns where the middle of the longest one lies,
# in pixels of the page; null before they are drawn
LONGEST_TASK = """(() => {
  const plot = window.Bokeh?.documents[0]?.get_model_by_name("task_stream");
  const view = plot && Bokeh.index.find_one(plot);
  if (!view) return null;
  const [middles, lengths, rows] = ["start", "duration", "y"].map(
    name => Array.from(plot.renderers[0].data_source.get_array(name)));
  if (lengths.length < 2) return null;
  plot.x_range.start = Math.min(...middles) - 500;
  const longest = lengths.indexOf(Math.max(...lengths));
  const {left, top} = view.el.getBoundingClientRect();
  return [left + view.frame.x_scale.compute(middles[longest]),
          top + view.frame.y_scale.compute(rows[longest])].map(Math.round);
})()"""
# left, top, right and bottom of what the page of a worker says of the tasks that it has
TASKS_OF_WORKER = """(() => {
  const {left, top, right, bottom} = [...document.querySelectorAll(".column")].at(-1)
    .getBoundingClientRect();
  return [left, top, right, bottom].map(Math.round);
})()"""

Spot = tuple[float, float, float, float]


def main() -> None:
    """Write the pictures into the directory that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="where the PNG files go")
    target = parser.parse_args().directory
    if not has_browser():
        sys.exit(MISSING)
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        for name, picture in zip(NAMES, take(Path(scratch)), strict=True):
            picture.quantize(dither=Image.Dither.NONE).save(target / name, optimize=True)


def take(scratch: Path) -> list[Image.Image]:
    """Return the pictures in the order of their names; what they show is left in a directory."""
    with local_client(WORKERS) as client, browser() as tab:
        photographer = Photographer(tab, scratch)
        watch = Watch(photographer, client)
        tissue = corrected(TISSUE, scratch / "tissue", client, watch)
        electrode = corrected(ELECTRODE, scratch / "electrode", client)
        report = photographer.report(ps.Pipeline.from_toml(tissue).report())
    drawn = draw_slice(*before_and_after(electrode)), draw_planes(*before_and_after(tissue))
    return [*drawn, watch.picture, report]


def corrected(
    stack: DemoStack, directory: Path, client: Client, on_block: OnBlock | None = None
) -> Path:
    """Write a stack, correct it, and return its directory."""
    ps.Pipeline.from_toml(stack.write(directory, [CHANNEL])).run(client=client, on_block=on_block)
    return directory


def before_and_after(project: Path) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the slices as they were acquired, of the region of the result, and the result."""
    after = ps.open_result(project)
    acquired = ps.open_stack(project, (CHANNEL,))
    return acquired.sel(y=after.y, x=after.x, method="nearest"), after


def draw_slice(before: xr.DataArray, after: xr.DataArray) -> Image.Image:
    """Draw the middle slice, before and after in the same gray levels, above the histograms."""
    depth = after.z.values[after.sizes["z"] // 2]
    cuts = [
        as_volume(stack).cut("z", int(np.abs(stack.z.values - depth).argmin()))
        for stack in (before, after)
    ]
    found = load(cuts)
    limits = gray_limits([plane.image for plane in found])
    up, across = (count / DPI for count in found[0].image.shape)
    below, margin = 0.8, 0.5
    figure = Picture(2 * across + 3 * GAP, margin + below + up + 2 * GAP)
    for number, (name, plane) in enumerate(zip(("before", "after"), found, strict=True)):
        left = GAP + number * (across + GAP)
        axes = _panel(figure, (left, margin + below + GAP, across, up), plane, limits)
        label(axes, name, LETTERS)
        draw_scale_bar(axes, plane.columns.span, plane.columns.unit, LETTERS)
        counted = histogram_of(plane.image, 64, limits)
        axes = figure.panel(left, margin, across, below, yticks=[], xlim=limits)
        axes.stairs(counted.counts, counted.edges, fill=True, color="#8c8c8c", linewidth=0)
        axes.set_xlabel("gray level", fontsize=LETTERS, color=INK, labelpad=2)
        axes.tick_params(labelsize=LETTERS - 1, colors=INK, length=3)
        axes.spines[["top", "left", "right"]].set_visible(False)
    return _image(figure)


def draw_planes(before: xr.DataArray, after: xr.DataArray) -> Image.Image:
    """Draw three planes that cross in the middle of the stack, before and after."""
    axes = as_volume(after).axes
    inches = VOXEL * len(axes[2]) / axes[2].span / DPI
    depth, up, across = (inches * axis.span for axis in axes)
    block = across + GAP + depth
    figure = Picture(2 * block + 5 * GAP, up + depth + 3 * GAP)
    for left, name, stack in ((GAP, "before", before), (block + 4 * GAP, "after", after)):
        volume = as_volume(stack)
        xy, xz, zy = load([volume.cut(axis) for axis in "zyx"])
        limits = gray_limits([plane.image for plane in (xy, xz, zy)])
        spots = (
            ("xy", xy, (left, depth + 2 * GAP, across, up)),
            ("xz", xz, (left, GAP, across, depth)),
            ("zy", zy.turned(), (left + across + GAP, depth + 2 * GAP, depth, up)),
        )
        for text, plane, spot in spots:
            panel = _panel(figure, spot, plane, limits)
            frame(panel, COLORS[plane.cut.name])
            label(panel, text, LETTERS)
            if plane is xy:
                draw_scale_bar(panel, plane.columns.span, plane.columns.unit, LETTERS)
        middle = left + across + GAP + depth / 2, GAP + depth / 2
        place = np.divide(middle, figure.get_size_inches())
        figure.text(*place, name, ha="center", va="center", color=INK, fontsize=1.6 * LETTERS)
    return _image(figure)


class Photographer:
    """Takes pictures of pages.

    Parameters
    ----------
    tab : Browser
        What shows them.
    scratch : Path
        A directory for files.
    """

    def __init__(self, tab: Browser, scratch: Path) -> None:
        self._tab, self._file = tab, scratch / "view.png"

    def report(self, page: Path) -> Image.Image:
        """Return a part of a report."""
        self._tab.open(page, *REPORT_SIZE)
        section = f"document.getElementById('{SECTION}')"
        self._tab.evaluate(f"{section}.scrollIntoView()")
        bottom = self._tab.evaluate(f"{section}.getBoundingClientRect().bottom")
        return self._view().crop((0, 0, REPORT_SIZE[0], round(bottom) + MARGIN // 2))

    def open_status(self, client: Client) -> None:
        """Show what the dashboard says of the cluster."""
        self._tab.open(client.dashboard_link, *STATUS_SIZE)

    def status(self) -> Image.Image:
        """Return what it says now, with the mouse on the longest task."""
        wait_for(lambda: self._tab.evaluate(LONGEST_TASK))  # from then on it lies elsewhere
        self._tab.point(*self._tab.evaluate(LONGEST_TASK))
        width, height = STATUS_SIZE
        return self._view().crop((0, 0, width, height - MARGIN))

    def tasks(self, client: Client, worker: str) -> Image.Image:
        """Return what the dashboard says of the tasks that a worker has."""
        page = f"info/worker/{quote(worker, safe='')}.html"
        self._tab.open(urljoin(client.dashboard_link, page), *STATUS_SIZE)
        return self._view().crop(self._tab.evaluate(TASKS_OF_WORKER))

    def _view(self) -> Image.Image:
        self._tab.screenshot(self._file, is_whole=False)
        with Image.open(self._file) as image:
            return image.convert("RGB")


class Watch:
    """Has the dashboard photographed while a pass is on its way.

    Parameters
    ----------
    photographer : Photographer
        Who does it.
    client : distributed.Client
        The cluster.
    """

    def __init__(self, photographer: Photographer, client: Client) -> None:
        self._photographer, self._client = photographer, client
        self._photographer.open_status(client)  # the stream begins when it is first looked at
        self._picture: Image.Image | None = None

    @property
    def picture(self) -> Image.Image:
        """What was photographed."""
        if self._picture is None:
            message = f"the {WATCHED} was over before the dashboard had been photographed"
            raise RuntimeError(message)
        return self._picture

    def __call__(self, event: BlockDone) -> None:
        if self._picture is not None or not event.label.endswith(WATCHED):
            return
        if event.done == 1:  # anew, else the axis of time begins long before the run
            self._photographer.open_status(self._client)
        elif event.done >= ENOUGH:
            status = self._photographer.status()
            tasks = self._client.processing()
            busiest = max(tasks, key=lambda worker: len(tasks[worker]))
            if tasks[busiest]:
                self._picture = _stacked(status, self._photographer.tasks(self._client, busiest))


def _panel(figure: Picture, spot: Spot, plane: Plane, limits: Limits) -> Any:
    """Draw a plane without ticks, in few gray levels."""
    axes = figure.panel(*spot)
    shown = draw_plane(axes, plane, limits)
    shown.set(cmap=matplotlib.colormaps["gray"].resampled(GRAYS), interpolation_stage="data")
    axes.set(xticks=[], yticks=[])
    return axes


def _image(figure: Picture) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI)
    return Image.open(file).convert("RGB")


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Return two pictures, one below the other."""
    whole = Image.new("RGB", (upper.width, upper.height + lower.height + 2 * MARGIN), "white")
    whole.paste(upper, (0, 0))
    whole.paste(lower, (MARGIN, upper.height + MARGIN))
    return whole


if __name__ == "__main__":
    main()

"""The report of a run: a page for the browser, and pictures and numbers for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from pystack3d_dask.core.charts import Chart, Columns
from pystack3d_dask.io.zarr.chunk import replacing
from pystack3d_dask.project.channel_folder import channel_folder
from pystack3d_dask.project.project import Project
from pystack3d_dask.report.content import Report, all_charts, make_report
from pystack3d_dask.report.draw import is_drawn, png
from pystack3d_dask.report.page import page


def write_report(project: Project, files: Path | None = None) -> Path:
    """Write ``process/report.html``; see `Pipeline.report`."""
    report = make_report(project)
    path = project.workspace.report
    with replacing(path) as file:
        file.write(page(report).encode())
    if files is not None:
        write_files(report, files)
    return path


def write_files(report: Report, directory: Path) -> list[Path]:
    """Write each chart as PNG, and its numbers as CSV.

    Parameters
    ----------
    report : Report
        What there is to show.
    directory : Path
        Gets a directory per section, and in these one per channel where there are several.
        Files of the same name are replaced.

    Returns
    -------
    list of Path
        The files.
    """
    written = []
    for section, group, chart in all_charts(report):
        folder = directory / section.name / channel_folder(group.channel)
        for name, content in _files(chart):
            with replacing(folder / name) as file:
                file.write(content)
            written.append(folder / name)
    return written


def _files(chart: Chart) -> Iterator[tuple[str, bytes]]:
    if is_drawn(chart):
        yield f"{chart.name}.png", png(chart)
    for part, columns in chart.tables().items():
        name = "_".join(filter(None, (chart.name, part.replace(" ", "_"))))
        yield f"{name}.csv", _csv(columns)


def _csv(columns: Columns) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip_longest(*columns.values(), fillvalue=""))
    return text.getvalue().encode()

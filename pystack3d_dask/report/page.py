"""The page: one HTML file without scripts, and without anything from elsewhere.

All text goes through `html.escape`; charts are images, in which nothing can run. A policy in
the head forbids scripts and whatever is not in the file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from pystack3d_dask.core.charts import Chart, Columns, Table
from pystack3d_dask.report.content import Group, Report, Section
from pystack3d_dask.report.draw import SCREEN_DOTS, png, svg
from pystack3d_dask.report.pictures import Picture

NARROW = 4  # columns of a table that fits beside charts
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header><p class="kind">Report of a correction</p><h1>$title</h1></header>
<nav>$links</nav>
<main>
$body
</main>
<footer>Made by pystack3d-dask $version.</footer>
</body>
</html>
"""
)


def page(report: Report) -> str:
    """Return a report as one HTML file."""
    parts = {
        "overview": ("Overview", "".join(_overview(report))),
        **{each.name: (each.title, _section(each)) for each in report.sections},
        "parameters": ("Parameters", "".join(_parameters(report))),
    }
    return PAGE.substitute(
        policy=POLICY,
        title=escape(report.title),
        style=files(__package__).joinpath("style.css").read_text(encoding="utf-8"),
        links="".join(f'<a href="#{escape(n)}">{escape(t)}</a>' for n, (t, _) in parts.items()),
        body="\n".join(
            f'<section id="{escape(name)}"><h2>{escape(title)}</h2>{content}</section>'
            for name, (title, content) in parts.items()
        ),
        version=escape(report.versions.get("pystack3d-dask", "")),
    )


def _overview(report: Report) -> Iterator[str]:
    yield _pairs(report.facts)
    yield "<h3>Slices to look at</h3>"
    if report.notes:
        yield "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in report.notes) + "</ul>"
    else:
        yield "<p>None stands out.</p>"
    if report.left_to_do:
        yield "<h3>Left to do</h3><p>The same command, <code>pystack3d-dask run</code>, continues "
        yield f"where the run stopped:</p><pre>{escape(report.left_to_do)}</pre>"


def _section(section: Section) -> str:
    content = f"<p>{escape(section.text)}</p>"
    if section.parameters:
        table = _pairs({name: _value(each) for name, each in section.parameters.items()})
        content += f"<details><summary>Parameters</summary>{table}</details>"
    return content + "".join(_group(group) for group in section.groups)


def _group(group: Group) -> str:
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in group.notes)
    pictures = [chart for chart in group.charts if isinstance(chart, Picture)]
    charts = [chart for chart in group.charts if not isinstance(chart, Picture)]
    content = notes + _figures("pictures", pictures) + _figures("charts", charts)
    if not group.channel:
        return content
    return f"<details open><summary>{escape(group.channel)}</summary>{content}</details>"


def _figures(kind: str, charts: Sequence[Chart]) -> str:
    shown = "".join(_figure(chart) for chart in charts)
    return f'<div class="{kind}">{shown}</div>' if shown else ""


def _figure(chart: Chart) -> str:
    title, text = escape(chart.title), escape(chart.text)
    caption = f"<figcaption><h3>{title}</h3><p>{text}</p></figcaption>"
    if isinstance(chart, Table):
        kind = ' class="wide"' if len(chart.columns) > NARROW else ""
        return f"<figure{kind}>{caption}{_table(chart.columns)}</figure>"
    kind, data = (
        ("png", png(chart, SCREEN_DOTS)) if isinstance(chart, Picture) else ("svg+xml", svg(chart))
    )
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<figure>{caption}<img alt="{title}" src="{address}"></figure>'


def _table(columns: Columns) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = (
        "<tr>" + "".join(f"<td>{escape(_number(each))}</td>" for each in row) + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _pairs(values: Mapping[str, str]) -> str:
    return (
        "<dl>"
        + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items())
        + "</dl>"
    )


def _parameters(report: Report) -> Iterator[str]:
    yield "<p>What the parameter file says; each step above has all of its own, with defaults.</p>"
    yield f"<pre>{escape(json.dumps(report.parameters, indent=2, default=str))}</pre>"
    yield f"<h3>Versions</h3>{_pairs(report.versions)}"


def _number(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _value(value: Any) -> str:
    return "not set" if value is None else str(value)

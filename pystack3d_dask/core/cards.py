"""What pipelines, plans and results look like in notebooks: a card of HTML each.

Cards take the colours of the notebook around them, light or dark, and need no scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pystack3d_dask.core.formatting import duration, extent, in_units
from pystack3d_dask.core.plan_text import sentence
from pystack3d_dask.core.planner import Plan
from pystack3d_dask.core.step import Step
from pystack3d_dask.engine.summary import RunSummary, bad_slice_note
from pystack3d_dask.project.project import Project

STYLE = """
.ps3d{border:1px solid rgba(128,128,128,.35);border-radius:8px;padding:12px 16px;max-width:980px;
 font-size:13px;line-height:1.45}
.ps3d h4{margin:0 0 8px;font-size:15px}
.ps3d dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0 0 10px}
.ps3d dt{opacity:.65}
.ps3d dd{margin:0}
.ps3d table{border-collapse:collapse;width:100%;margin:0;font-size:inherit}
.ps3d th,.ps3d td{text-align:left;padding:4px 10px 4px 0;vertical-align:top;
 border-top:1px solid rgba(128,128,128,.25)}
.ps3d th{opacity:.65;font-weight:normal;border-top:none}
.ps3d td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ps3d td.share{min-width:110px;width:18%}
.ps3d td.share div{background:#2a78b8;height:10px;margin-top:5px;border-radius:2px;min-width:1px}
.ps3d details dl{margin:4px 0 8px 18px}
.ps3d summary{cursor:pointer}
.ps3d li{margin:0}
"""


@dataclass(frozen=True)
class Share:
    """How long a bar is, of the longest one, and what it stands for."""

    of_longest: float
    title: str


def pipeline_card(project: Project, left: Plan) -> str:
    """Return what a project is, and how far it is.

    Parameters
    ----------
    project : Project
        The project.
    left : Plan
        What is left to do.
    """
    spec = project.source.specs[0]
    count = len(left.passes)
    facts = {
        "directory": str(project.directory or "none"),
        "channels": ", ".join(project.source.channels),
        "slices": f"{extent(spec)} pixels, {spec.source_dtype}",
        "voxel": _voxel(spec.pixel_size, spec.z),
        "precision": project.precision,
        "state": f"{count} pass{'es' * (count > 1)} to do" if count else "the result is complete",
    }
    steps = "".join(_step(number, step) for number, step in enumerate(project.steps, start=1))
    return _card("Pipeline", _pairs(facts) + (steps or "<p>No steps.</p>"))


def plan_card(plan: Plan) -> str:
    """Return what is left to do, pass by pass."""
    if not plan.passes:
        return _card("Plan", "<p>Nothing to do: the result is complete.</p>")
    facts = {
        "slices": f"{extent(plan.chains[0].levels[0])} pixels, to "
        f"{_bound(plan.chains[0].levels[-1].is_bound)}{extent(plan.chains[0].levels[-1])}",
        "the stack is": f"read {plan.reads} times, written {plan.writes} times",
        "memory": f"{in_units(plan.memory)} for each worker at most",
        "disk": f"{in_units(plan.peak_disk)} before compression",
        "time": f"about {duration(plan.seconds)} on one core",
    }
    longest = max(item.seconds for item in plan.passes)
    rows: list[list[str | Share]] = [
        [
            str(number),
            sentence(plan, item),
            f"{item.tasks:,}",
            _bound(item.is_bound) + in_units(item.bytes_read),
            _bound(item.is_bound) + in_units(item.bytes_written),
            Share(item.seconds / longest, f"about {duration(item.seconds)} on one core"),
        ]
        for number, item in enumerate(plan.passes, start=1)
    ]
    head = ["pass", "", "tasks", "reads", "writes", "share of the time"]
    return _card("Plan", _pairs(facts) + _table(head, rows))


def summary_card(summary: RunSummary) -> str:
    """Return what a run did, pass by pass, and what users should know about it."""
    facts = {"result": str(summary.result), "time": duration(summary.seconds)}
    longest = max((item.seconds for item in summary.passes), default=1.0)
    rows: list[list[str | Share]] = [
        [
            item.label,
            f"{item.tasks:,}" + (f" + {item.resumed:,} from before" if item.resumed else ""),
            in_units(item.bytes_read),
            in_units(item.bytes_written),
            in_units(item.peak_memory),
            f"{item.seconds:.1f} s",
            Share(item.seconds / longest, f"{item.seconds:.1f} s"),
        ]
        for item in summary.passes
    ]
    head = ["pass", "tasks", "read", "wrote", "memory", "time", ""]
    notes = [*summary.notes, *map(bad_slice_note, summary.bad_slices), *summary.remarks]
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    done = _table(head, rows) if rows else "<p>Nothing was left to do.</p>"
    return _card("Result", _pairs(facts) + done + (f"<ul>{listed}</ul>" if listed else ""))


def _card(title: str, body: str) -> str:
    return f'<style>{STYLE}</style><div class="ps3d"><h4>{escape(title)}</h4>{body}</div>'


def _step(number: int, step: Step) -> str:
    values = {name: str(value) for name, value in step.parameters().items()}
    title = f"{number}&ensp;{escape(step.name)}"
    return f"<details><summary>{title}</summary>{_pairs(values)}</details>"


def _pairs(values: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str | Share]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: str | Share) -> str:
    if isinstance(value, Share):
        bar = f'<div style="width:{100 * value.of_longest:.0f}%"></div>'
        return f'<td class="share" title="{escape(value.title)}">{bar}</td>'
    is_number = value[:1].isdigit() or value.startswith("<=")
    return f"<td{' class=number' if is_number else ''}>{escape(value)}</td>"


def _voxel(pixel_size: tuple[float, float] | None, z: Sequence[float] | None) -> str:
    if pixel_size is None:
        return "size unknown"
    y, x = (f"{size:.4g}" for size in pixel_size)
    if z is None or len(z) < 2:
        return f"{x} × {y} µm (x, y)"
    return f"{x} × {y} × {(z[-1] - z[0]) / (len(z) - 1):.4g} µm (x, y, z on average)"


def _bound(is_bound: bool) -> str:
    return "<= " if is_bound else ""

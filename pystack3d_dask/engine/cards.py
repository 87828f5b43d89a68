"""HTML cards of pipelines and results for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pystack3d_dask.core.cards import Share, card, pairs, table
from pystack3d_dask.core.formatting import duration, extent, in_units
from pystack3d_dask.core.planner import Plan
from pystack3d_dask.core.step import Step
from pystack3d_dask.engine.summary import RunSummary, bad_slice_note
from pystack3d_dask.project.project import Project


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
    return card("Pipeline", pairs(facts) + (steps or "<p>No steps.</p>"))


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
    done = table(head, rows) if rows else "<p>Nothing was left to do.</p>"
    return card("Result", pairs(facts) + done + (f"<ul>{listed}</ul>" if listed else ""))


def _step(number: int, step: Step) -> str:
    values = {name: str(value) for name, value in step.parameters().items()}
    title = f"{number}&ensp;{escape(step.name)}"
    return f"<details><summary>{title}</summary>{pairs(values)}</details>"


def _voxel(pixel_size: tuple[float, float] | None, z: Sequence[float] | None) -> str:
    if pixel_size is None:
        return "size unknown"
    y, x = (f"{size:.4g}" for size in pixel_size)
    if z is None or len(z) < 2:
        return f"{x} × {y} µm (x, y)"
    return f"{x} × {y} × {(z[-1] - z[0]) / (len(z) - 1):.4g} µm (x, y, z on average)"

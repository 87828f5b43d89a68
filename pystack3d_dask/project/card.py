"""HTML card of a project for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pystack3d_dask.core.cards import card, pairs
from pystack3d_dask.core.formatting import extent
from pystack3d_dask.core.plan import Plan
from pystack3d_dask.core.step import Step
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
        "slices": f"{extent(spec.shape)} pixels, {spec.source_dtype}",
        "voxel": _voxel(spec.pixel_size, spec.z),
        "precision": project.precision,
        "state": f"{count} pass{'es' * (count > 1)} to do" if count else "the result is complete",
    }
    steps = "".join(_step(number, step) for number, step in enumerate(project.steps, start=1))
    return card("Pipeline", pairs(facts) + (steps or "<p>No steps.</p>"))


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

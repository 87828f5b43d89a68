"""What commands on a project have in common: how it is named and opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pystack3d_dask.cli.collecting import uncollected
from pystack3d_dask.cli.waiting import waiting

if TYPE_CHECKING:
    from pystack3d_dask.core.gpu_policy import GpuUse
    from pystack3d_dask.pipeline import Pipeline

PROJECT = click.argument("project", type=click.Path(path_type=Path))
STEPS = click.option("--steps", help="Only these of the process_steps, separated by commas.")


@uncollected()
def open_pipeline(project: Path, steps: str | None, gpu_use: GpuUse | None = None) -> Pipeline:
    """Open a project, and print what is worth saying.

    With some of its steps, and another use of GPUs than its parameters say, if these are named.
    """
    wanted = None if steps is None else [name.strip() for name in steps.split(",")]
    with waiting(f"opening {project}"):
        from pystack3d_dask.pipeline import Pipeline

        pipeline = Pipeline.from_toml(project, steps=wanted)
    if gpu_use is not None:
        pipeline = Pipeline.of(replace(pipeline.project, gpu_use=gpu_use))
    for note in pipeline.project.notes:
        click.echo(f"{note.severity}: {note}", err=True)
    return pipeline

"""What scripts written for PyStack3D read: its directories, made from a run's records.

``process/<step>/<channel>`` holds the slices of the levels that are stored, in the type of
the acquisition, and in ``outputs`` the arrays that each step declares. Pictures and logs
are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.traits import ReferenceLayout
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.summary import load_figures
from pystack3d_dask.errors import ExportError
from pystack3d_dask.export.export import OnSlice, SliceDone, check_slices, write_slices
from pystack3d_dask.export.stored import Channel, stored_stack
from pystack3d_dask.io.zarr.chunk import replacing
from pystack3d_dask.kernels.casting import cast
from pystack3d_dask.project.channel_folder import channel_folder
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project


def export_reference_layout(
    project: Project, *, overwrite: bool = False, on_slice: OnSlice | None = None
) -> list[Path]:
    """Write the directories of PyStack3D's steps for a finished run.

    Parameters
    ----------
    project : Project
        The project.
    overwrite : bool
        Write into directories that are not empty.
    on_slice : callable, optional
        Called after each slice.

    Returns
    -------
    list of Path
        The directory of each step.

    Raises
    ------
    ExportError
        When there is no complete result, or files that would be lost.
    """
    stored_stack(project)  # refuses where there is no result
    if not project.steps:
        msg = "process_steps is empty: PyStack3D has no directory for a stack without steps"
        raise ExportError(msg)
    fits, known = known_work(project)
    chains = project.chains(fits)
    folders = [project.workspace.process / step.name for step in project.steps]
    stacks = [
        _stack(project, chains, level) if level in known.stored else []
        for level in range(1, len(folders) + 1)
    ]
    for folder, stack in zip(folders, stacks, strict=True):
        check_slices(project, stack, folder, overwrite)
    for level, folder in enumerate(folders, start=1):
        _write_outputs(project, chains, level, folder)
    total = sum(channel.spec.shape[0] for stack in stacks for channel in stack)
    done = 0
    for folder, stack in zip(folders, stacks, strict=True):
        for path in write_slices(stack, folder) if stack else ():
            done += 1
            if on_slice is not None:
                name = str(path.relative_to(project.workspace.process))
                on_slice(SliceDone(name=name, done=done, total=total))
    return folders


def _stack(project: Project, chains: Sequence[Chain], level: int) -> list[Channel]:
    channels = stored_stack(project, project.steps[level - 1].name)
    return [
        _with_type_of_result(channel, chain)
        for channel, chain in zip(channels, chains, strict=True)
    ]


def _with_type_of_result(channel: Channel, chain: Chain) -> Channel:
    """Return a channel whose slices come in the type of the acquisition."""

    def read(z: int) -> Array:
        return cast(channel.read(z), chain.result_dtype, chain.source.precision)

    return replace(channel, read=read, spec=replace(channel.spec, dtype=chain.result_dtype))


def _write_outputs(project: Project, chains: Sequence[Chain], level: int, folder: Path) -> None:
    step = project.steps[level - 1]
    figures = load_figures(project, level)
    per_channel = not isinstance(step, ReferenceLayout) or step.reference_per_channel
    for index, chain in enumerate(chains if per_channel else chains[:1]):
        own = {name: values[index] for name, values in figures.items()}
        files: dict[str, Array | Arrays] = {}
        if per_channel:
            files["outputs/stats.npy"] = _statistics(own)
        if isinstance(step, ReferenceLayout):
            fitted = chain.fitted(level - 1)
            files |= step.reference_outputs(own, chain.levels[level - 1], fitted)
        inside = channel_folder(project.source.channels[index])
        for name, content in files.items():
            _save((folder / inside if per_channel else folder) / name, content)


def _statistics(figures: Arrays) -> Array:
    """Return minimum, maximum and mean of each slice before, after, and after casting.

    Where input and output differ in the number of slices, the shorter ends in NaN.
    """
    stages = [figures[stage] for stage in ("before", "raw", "cast")]
    stats = np.full((max(map(len, stages)), len(stages), 3), np.nan)
    for index, stage in enumerate(stages):
        stats[: len(stage), index] = stage
    return stats


def _save(path: Path, content: Array | Arrays) -> None:
    with replacing(path) as file:
        if isinstance(content, dict):
            np.savez(file, allow_pickle=False, **content)
        elif path.suffix == ".txt":
            np.savetxt(file, content)
        else:
            np.save(file, content, allow_pickle=False)

"""The part that a correction took away: its input less its output, computed again by slice."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from pystack3d_dask.core.chain import Chain, Work, demands
from pystack3d_dask.core.formatting import quoted
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import ExportError
from pystack3d_dask.export.stored import Channel, origins
from pystack3d_dask.io.wrappers.mended import acquisition
from pystack3d_dask.kernels.casting import difference
from pystack3d_dask.preview.workbench import KEPT_BYTES, Fitted, Memory, Workbench
from pystack3d_dask.project.known import known_fits
from pystack3d_dask.project.project import Project


def removed_stack(project: Project, step: str) -> list[Channel]:
    """Return the channels of what a step took away, in float32.

    Parameters
    ----------
    project : Project
        The project. Runs have found the fits of the step, and of those before it, if they have
        some.
    step : str
        The step: one that leaves pixels in their places.

    Returns
    -------
    list of Channel
        Slices are computed anew, from the source on, by the parameters of the project as they are.
        They are in gray levels of what the step got and left, before the result is made of that:
        bright where it made the slice darker.

    Raises
    ------
    ExportError
        When there is no such step, when it moves pixels, or when a fit is not known.
    """
    level = _level_of(project, step)
    fits = known_fits(project)
    chains = project.chains(fits)
    _check_fits(chains[0], level, step)
    bench = Workbench(project, level - 1, memory=Memory(_room(chains[0], level)))
    return [
        Channel(
            name=project.source.channels[index],
            spec=replace(chain.levels[level], dtype=np.dtype(np.float32)),
            source=acquisition(project.source),
            index=index,
            made_of=origins(project, chain, level),
            read=partial(_removed, bench, Fitted(chains), index, level),
        )
        for index, chain in enumerate(chains)
    ]


def _level_of(project: Project, step: str) -> int:
    """Return the level that a step leaves, if what it took away can be told."""
    names = [each.name for each in project.steps]
    if step not in names:
        msg = f"{step!r} is not one of the steps; expected {quoted(names)}"
        raise ExportError(msg)
    level = names.index(step) + 1
    before, after = project.chains()[0].levels[level - 1 : level + 1]
    if project.steps[level - 1].only_moves or before.shape != after.shape:
        msg = f"{step!r} is about where pixels lie: there is nothing that it took away from them"
        raise ExportError(msg)
    return level


def _check_fits(chain: Chain, level: int, step: str) -> None:
    needed = {name for each in chain.steps[:level] for name in each.needs}
    missing = sorted(needed - chain.fits.keys())
    if missing:
        msg = (
            f"what {step!r} took away is not known before the stack was looked at for "
            f"{quoted(missing)}: `pystack3d-dask run` does that"
        )
        raise ExportError(msg)


def _room(chain: Chain, level: int) -> int:
    """Return the bytes for the slices that one slice of a level is computed from, and the next."""
    spec = chain.levels[level - 1]
    middle = chain.levels[level].shape[0] // 2
    block = chain.levels[level].region.with_z(middle, middle + 1)
    work = Work(reads=level - 1, end=level, stores=(level,))
    slices = demands(chain, work, block)[level - 1].region.shape[0]
    return max(KEPT_BYTES, 2 * slices * spec.shape[1] * spec.shape[2] * spec.dtype.itemsize)


def _removed(bench: Workbench, fitted: Fitted, channel: int, level: int, z: int) -> Array:
    region = fitted.chains[channel].levels[level].region.with_z(z, z + 1)
    before, after = (bench.image(fitted, k, channel, region) for k in (level - 1, level))
    return difference(before, after)

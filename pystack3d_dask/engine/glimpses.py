"""Glimpses of slices before and after a correction: windows that tell what it took away.

Few slices are seen, whole runs of them all over the stack, and of each two windows: what is kept
does not grow with the stack, and does not depend on how it is cut into blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.chain import Chain
from pystack3d_dask.core.formatting import percent, short
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.backend import to_host
from pystack3d_dask.kernels.taken import NAMES, RUN, Harm, harm, products

RUNS = 8
SIDE = 128  # of a window, pixels
PLACES = (1 / 3, 2 / 3)  # of the middle of each window, of the height and width of a slice
MOSTLY = 0.5  # of what was taken
ALIKE = 0.7  # as much is taken from slices that are turned: the specimen, no curtains
SURE = 3.0  # standard errors
SEEN = 0.03  # of the contrast of the slices: a smaller error does no harm


def runs(slices: int) -> list[int]:
    """Return the first slice of each run that is seen of a stack; none overlaps another one."""
    count = min(RUNS, slices // RUN)
    return [int(z) for z in np.rint(np.linspace(0, max(0, slices - RUN), count))]


def is_seen(z: int, slices: int) -> bool:
    """Return whether a slice of a stack belongs to a run."""
    return any(first <= z < first + RUN for first in runs(slices))


def glimpse(block: Block, values: Any, z: int) -> Arrays:
    """Return windows of a slice before and after a step that leaves pixels in their places.

    Parameters
    ----------
    block : Block
        What the step got: whole slices.
    values : ndarray, shape ``block.out.shape``
        What it made of them, of numpy or cupy.
    z : int
        The slice.

    Returns
    -------
    dict of ndarray of float32, shape (windows, rows, columns)
        ``before`` and ``after``.
    """
    offset = z - block.out.start[0]
    before, after = block.inside(block.values)[offset], values[offset]
    return {"before": _windows(before), "after": _windows(after)}


def products_by_run(
    glimpses: Mapping[int, Arrays], slices: int, left_out: Collection[int] = ()
) -> dict[int, Arrays]:
    """Return what `products` finds, by the first slice of each run that can be judged.

    Parameters
    ----------
    glimpses : mapping
        By slice. Those that no later step needs may not have been computed.
    slices : int
        How many there are.
    left_out : collection of int
        Slices that are bad, or made of others. A slice twice is found here.
    """
    found = {}
    for first in runs(slices):
        run = range(first, first + RUN)
        if all(z in glimpses and z not in left_out for z in run):
            seen = [glimpses[z] for z in run]
            before, after = (np.stack([each[key] for each in seen]) for key in ("before", "after"))
            if not any(np.array_equal(one, other) for one, other in pairwise(before)):
                found[first] = products(before, after)
    return found


def known_harm(figures: Arrays) -> Harm | None:
    """Return what a step did to the slices, from its figures, if that was seen.

    Parameters
    ----------
    figures : dict of ndarray, shape (slices,)
        Those of `NAMES`, NaN where no run begins.
    """
    if not all(name in figures for name in NAMES):
        return None
    is_there = ~np.isnan(figures[NAMES[0]])
    return harm({name: figures[name][is_there] for name in NAMES}) if is_there.any() else None


def does_harm(found: Harm) -> bool:
    """Return whether slices are surely worse for what was taken away, so that it is seen.

    What neighboring slices share may be curtains that go on through them, unless as much of it is
    found along the other direction.
    """
    is_sure = bool(found.change > SURE * found.uncertainty)
    is_specimen = found.turned > ALIKE or not found.share > MOSTLY
    return is_sure and is_specimen and found.change > (SEEN * found.contrast) ** 2


def harm_remarks(chain: Chain, figures: Sequence[Arrays]) -> Iterator[str]:
    """Yield of which steps neighboring slices say that they took parts of the specimen.

    Parameters
    ----------
    chain : Chain
        The steps.
    figures : sequence of dict
        Those of each level, by name: arrays of shape (slices, ...); empty where not known.
    """
    for step, known in zip(chain.steps, figures[1:], strict=True):
        found = known_harm(known)
        if found is not None and does_harm(found):
            yield (
                f"{step.name}: {_reason(found)}: look at it with `pystack3d-dask export DIR "
                f"--removed {step.name} --tiff OUTDIR`"
            )


def _reason(found: Harm) -> str:
    taken = f"{short(found.rms)} gray levels rms"
    if found.share > MOSTLY:
        return (
            f"{percent(found.share)} of what it took away ({taken}) is in neighboring slices, too, "
            "and such structure is found along the other direction as well: it is the specimen, "
            "and the correction does harm"
        )
    return (
        f"slices are less like their neighbors than before: it took too much away ({taken}), or "
        "put something there"
    )


def _windows(image: Any) -> Array:
    height, width = (min(SIDE, n) for n in image.shape)
    found = []
    for place in PLACES:
        top, left = (
            min(max(0, round(place * n) - size // 2), n - size)
            for n, size in zip(image.shape, (height, width), strict=True)
        )
        found.append(to_host(image[top : top + height, left : left + width]))
    return np.stack(found).astype(np.float32)

"""The notebook face: corrections on lazy arrays, computed by the same block function.

On a project, a block reads just its region of the source. On anybody's dask array, blocks
are the array's own chunks: ``map_blocks`` where a slice needs only itself, one
``map_overlap`` with the composed halo of all steps otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.array.overlap import ensure_minimum_chunksize
from dask.array.utils import meta_from_array

from pystack3d_dask.core.chain import Chain, Gather, Work, demands, slabs
from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.core.provenance import GRAY_LEVELS, provenance
from pystack3d_dask.core.pyramid import slab_thickness
from pystack3d_dask.core.spec import AXES, Region
from pystack3d_dask.core.stack_fit import fitted_in_rounds, stack_fit
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.engine.block import Partials, Place, Read, run_block
from pystack3d_dask.errors import FitRequiredError
from pystack3d_dask.io.ome.image import coordinates
from pystack3d_dask.io.on_demand import NAME, Stored
from pystack3d_dask.io.source import Source
from pystack3d_dask.kernels.backend import Send, compute_on_gpu, namespace, to_gpu, to_host
from pystack3d_dask.kernels.casting import repair
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project

Grid = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def lazy_source(source: Source) -> xr.DataArray:
    """Return the slices of a source as a lazy array, dims (c, z, y, x).

    What is selected of it is all that is read, as far as the files allow.
    """
    stored = stored_source(source)
    slab = slab_thickness(stored.pixels.shape[1:], stored.pixels.dtype.itemsize)
    return stored.as_dask((1, slab, -1, -1))


def stored_source(source: Source) -> Stored:
    """Return the slices of a source for xarray."""
    coords = coordinates(source.channels, source.specs[0])
    return Stored(_Pixels(source), (1, *source.chunks), coords, dict(GRAY_LEVELS))


class _Pixels:
    """A source as an array on disk: an index of integers and forward slices reads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.shape = (len(source.channels), *source.specs[0].shape)
        self.dtype = np.result_type(*(spec.dtype for spec in source.specs))

    def __getitem__(self, index: tuple[int | slice, ...]) -> Array:
        c, z, y, x = (
            range(each, each + 1) if isinstance(each, int) else range(n)[each]
            for each, n in zip(index, self.shape, strict=True)
        )
        found = np.empty((len(c), len(z), len(y), len(x)), self.dtype)
        for channel, volume in zip(c, found, strict=True):
            self._read(channel, z, y, x, volume)
        kept = tuple(0 if isinstance(each, int) else slice(None) for each in index)
        return np.asarray(found[kept])

    def _read(self, channel: int, z: range, y: range, x: range, out: Array) -> None:
        # bad pixels are mended from all of a slice
        around = [range(n) for n in self.shape[2:]] if self.dtype.kind == "f" else [y, x]
        (top, bottom), (left, right) = ((each[0], each[-1] + 1) for each in around)
        inside = tuple(
            slice(each[0] - first, each[-1] - first + 1, each.step)
            for each, first in ((y, top), (x, left))
        )
        for k in range(0, len(z), len(z) if z.step == 1 else 1):
            last = z[-1] if z.step == 1 else z[k]
            images = self._source.read(
                channel, Region((z[k], top, left), (last + 1, bottom, right))
            )
            for place, image in enumerate(images, k):
                out[place] = repair(image)[0][inside]


def lazy_result(project: Project) -> xr.DataArray:
    """Return the corrected stack; see `Pipeline.lazy`."""
    fits = known_work(project)[0] if project.directory else {}
    chains = project.chains(fits)
    for index, step in enumerate(project.steps):
        if not chains[0].is_applicable(index):
            message = (
                f"{step.name} needs its fit to the whole stack first: call Pipeline.fit() "
                "(or run()), then lazy()"
            )
            raise FitRequiredError(message)
    return _lazy(project.source, chains, project.gpu_use)


def correct_array(array: Any, chain: Chain) -> Any:
    """Return one channel of a corrected stack, lazily and not yet rounded.

    Parameters
    ----------
    array : dask.array.Array, shape (slices, rows, columns)
        The uncorrected stack, any chunks.
    chain : Chain
        The steps with their fits; level 0 describes ``array``.

    Returns
    -------
    dask.array.Array
        In the type of the last level.
    """
    end = len(chain.steps)
    work = Work(reads=0, end=end, stores=(end,))

    is_there = namespace(array._meta) is not np
    is_sent = not is_there and chain.is_gpu_work(work)

    def corrected(values: Array, origin: Region, block: Region) -> Any:
        read = partial(_part, values, origin)
        if is_there:
            return _run(chain, work, block, read, compute_on_gpu, to_gpu)
        return _run(chain, work, block, read, _own_gpu() if is_sent else None)

    placed = _for_gpu_workers(corrected) if is_sent else corrected
    return _map(array, chain, work, placed, chain.levels[-1].dtype)


def _for_gpu_workers(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function that GPU workers compute, if a cluster that has some computes it."""
    # not at the top: it loads distributed
    from pystack3d_dask.lazy.gpu_workers import on_gpu_worker

    return partial(on_gpu_worker, function)


def _part(values: Array, origin: Region, region: Region) -> Array:
    return values[region.relative_to(origin).slices]


def summaries(array: Any, chain: Chain, gather: Gather, partials: Partials) -> dict[int, Arrays]:
    """Compute the summaries of one fit from a dask array.

    Parameters
    ----------
    array : dask.array.Array, shape (slices, rows, columns)
        The uncorrected stack.
    chain : Chain
        The steps before the fitted one with their fits, and the fitted one.
    gather : Gather
        The fit.
    partials : dict
        Partial fits of earlier rounds.

    Returns
    -------
    dict
        By slice, ascending.
    """
    work = Work(reads=0, end=gather.index, gathers=(gather,))

    def summarized(values: Array, origin: Region, block: Region) -> Array:
        read = partial(_part, values, origin)
        report = run_block(chain, work, block, read, _discard, partials)
        found = np.empty((1, 1, 1), object)
        found[0, 0, 0] = report.summaries
        return found

    whole = array.rechunk({1: -1, 2: -1})
    blocks = _map(whole, chain, work, summarized, np.dtype(object), one_each=True).compute()
    name = chain.steps[gather.index].name
    merged: dict[int, Arrays] = {}
    for block in blocks.ravel():
        merged |= block[name]
    return dict(sorted(merged.items()))


def _discard(level: int, z: int, image: Array) -> None:
    """Receive slices where only summaries are wanted."""


def _own_gpu() -> Place | None:
    from pystack3d_dask.lazy.gpu_workers import own_gpu

    return own_gpu()


def _run(
    chain: Chain,
    work: Work,
    block: Region,
    read: Read,
    place: Place | None,
    deliver: Send = to_host,
) -> Any:
    """Compute a block, on the GPU if there is a place for that, and return it where it is sent."""
    out: list[Any] = []
    run_block(
        chain,
        work,
        block,
        read,
        lambda level, z, image: out.append(image),
        place=place,
        measures=False,
        deliver=deliver,
    )
    return namespace(out[0]).stack(out)


def _map(
    array: Any,
    chain: Chain,
    work: Work,
    function: Callable[[Array, Region, Region], Array],
    dtype: np.dtype[Any],
    *,
    one_each: bool = False,
) -> Any:
    """Map ``function(values, where they lie, block)`` over the blocks of the last level.

    It returns values of that type, or with ``one_each`` a single object of each block.
    """
    end = chain.levels[work.end]
    frame = chain.pulled(end.region, work.end, 0)
    if frame.shape != end.shape:
        return _map_slabs(array, chain, work, function, dtype)
    cut = _with_whole_axes(array[frame.slices], chain, work)
    before, after = _halo(cut.chunks, chain, work, frame)
    while (chunks := _not_thinner(cut.chunks, before, after)) != cut.chunks:
        cut = cut.rechunk(chunks)
        # blocks with other edges may reach further: some steps need whole cells of pixels
        more = _halo(cut.chunks, chain, work, frame)
        before, after = _larger(before, more[0]), _larger(after, more[1])
    depth = {axis: (before[axis], after[axis]) for axis in range(3)}
    grid: Grid = cut.chunks
    mapped = partial(
        _at_block, function=function, grid=grid, frame=frame, before=before, after=after
    )
    options = {
        "dtype": dtype,
        "chunks": tuple((1,) * len(sizes) for sizes in grid) if one_each else grid,
        "meta": np.empty((0, 0, 0), dtype) if one_each else meta_from_array(array, 3, dtype),
    }
    if any(before) or any(after):
        return da.map_overlap(
            mapped, cut, depth=depth, boundary="none", trim=False, allow_rechunk=False, **options
        )
    return cut.map_blocks(mapped, **options)


def _map_slabs(
    array: Any,
    chain: Chain,
    work: Work,
    function: Callable[[Array, Region, Region], Array],
    dtype: np.dtype[Any],
) -> Any:
    """Map a function over slabs of the last level, where its voxels are not those of the array."""
    end = chain.levels[work.end]
    pieces = []
    for slab in slabs(end.shape[0], max(array.chunks[0])):
        block = end.region.with_z(slab.start, slab.stop)
        origin = demands(chain, work, block)[0].region
        mapped = partial(_at_slab, function=function, origin=origin, block=block)
        chunks = tuple((extent,) for extent in block.shape)
        needed = array[origin.slices].rechunk(-1)
        meta = meta_from_array(array, 3, dtype)
        pieces.append(needed.map_blocks(mapped, dtype=dtype, chunks=chunks, meta=meta))
    return da.concatenate(pieces)


def _at_slab(
    values: Array,
    *,
    function: Callable[[Array, Region, Region], Array],
    origin: Region,
    block: Region,
) -> Array:
    return function(values, origin, block)


def _not_thinner(grid: Grid, before: tuple[int, ...], after: tuple[int, ...]) -> Grid:
    """Return the grid with blocks joined that are thinner than the halo of their neighbors."""
    z, y, x = (
        ensure_minimum_chunksize(depth, sizes) if depth else sizes
        for sizes, depth in zip(grid, _larger(before, after), strict=True)
    )
    return z, y, x


def _larger(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(max, one, other))


def _at_block(
    values: Array,
    *,
    function: Callable[[Array, Region, Region], Array],
    grid: Grid,
    frame: Region,
    before: tuple[int, ...],
    after: tuple[int, ...],
    block_id: tuple[int, ...],
) -> Array:
    block = _block_region(grid, block_id)
    around = block.grown(before, after).clipped([sum(sizes) for sizes in grid])
    return function(values, around.shifted(frame.start), block)


def _block_region(grid: Grid, index: tuple[int, ...]) -> Region:
    edges = [(0, *accumulate(sizes)) for sizes in grid]
    z, y, x = ((edges[axis][k], edges[axis][k + 1]) for axis, k in enumerate(index))
    return Region((z[0], y[0], x[0]), (z[1], y[1], x[1]))


def _with_whole_axes(array: Any, chain: Chain, work: Work) -> Any:
    whole = {axis for step in chain.steps[: work.end] for axis in step.whole}
    return array.rechunk({AXES.index(axis): -1 for axis in whole}) if whole else array


def _halo(
    grid: Grid, chain: Chain, work: Work, frame: Region
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how far blocks reach beyond their own voxels, before and after, per axis."""
    before, after = [0, 0, 0], [0, 0, 0]
    for axis, sizes in enumerate(grid):
        for k in range(len(sizes)):
            index = tuple(k if a == axis else 0 for a in range(3))
            block = _block_region(grid, index)
            own = block.shifted(frame.start)
            need = demands(chain, work, block)[0].region
            if need.size:
                before[axis] = max(before[axis], own.start[axis] - need.start[axis])
                after[axis] = max(after[axis], need.stop[axis] - own.stop[axis])
    return tuple(before), tuple(after)


def _lazy(source: Source, chains: Sequence[Chain], use: GpuUse) -> xr.DataArray:
    dtype = np.result_type(*(chain.result_dtype for chain in chains))
    channels = [
        _from_source(source, index, chain, dtype, use) for index, chain in enumerate(chains)
    ]
    spec = chains[0].levels[-1]
    return xr.DataArray(
        da.stack(channels),
        dims=("c", *AXES),
        coords=coordinates(source.channels, spec),
        attrs={**GRAY_LEVELS, **provenance(chains[0].steps)},
        name=NAME,
    )


def _from_source(
    source: Source, channel: int, chain: Chain, dtype: np.dtype[Any], use: GpuUse
) -> Any:
    end = len(chain.steps)
    work = Work(reads=0, end=end, stores=(end,), finishes=True)
    spec = chain.levels[-1]
    slab = slab_thickness(spec.shape, dtype.itemsize)
    grid = da.core.normalize_chunks((slab, -1, -1), shape=spec.shape)

    is_sent = use != "off" and chain.is_gpu_work(work)

    def computed(region: Region) -> Any:
        place = _own_gpu() if is_sent else None
        values = _run(chain, work, region, partial(source.read, channel), place)
        return values.astype(dtype, copy=False)

    placed = _for_gpu_workers(computed) if is_sent else computed

    def block(block_id: tuple[int, ...]) -> Array:
        return placed(_block_region(grid, block_id))

    return da.map_blocks(block, chunks=grid, dtype=dtype, meta=np.empty((0, 0, 0), dtype))


def fit_chain(array: Any, chain: Chain, index: int) -> Arrays:
    """Compute the stack-wide fit of a step from a dask array.

    Parameters
    ----------
    array : dask.array.Array, shape (slices, rows, columns)
        The uncorrected stack.
    chain : Chain
        The steps, with the fits that those before ``index`` need.
    index : int
        The step to fit.

    Returns
    -------
    dict of ndarray
    """
    step = stack_fit(chain.steps[index])

    def look(number: int, partial: Arrays | None) -> dict[int, Arrays]:
        partials = {} if partial is None else {step.name: partial}
        return summaries(array, chain, Gather(index, number), partials)

    return fitted_in_rounds(step, chain.levels[index], look)

"""From steps to passes over the stack. Pure: it reads declarations, never a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

from pystack3d_dask.core.chain import Chain, Gather, Work, demands, halo_depth, overlap, slabs
from pystack3d_dask.core.plan import WORKER_BASE, Known, Pass, Plan
from pystack3d_dask.core.pyramid import pooled_shape, pyramid, slab_thickness, thick_slab
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, stack_fit
from pystack3d_dask.core.step import Step

SLAB_AND_SHARDS = 1.4  # the slab of the result, and what its shards take while being written
NANOSECONDS_PER_BYTE = 1.5  # reading or writing one byte, codec included
NANOSECONDS_OF_STATISTICS = 1.0  # per pixel and level
REPEATED = 0.1  # of the slices: more of them are not computed twice by heavy steps


def make_plan(
    chains: Sequence[Chain],
    channels: Sequence[str],
    *,
    chunked_source: bool,
    known: Known | None = None,
) -> Plan:
    """Group the steps into passes.

    Parameters
    ----------
    chains : sequence of Chain
        One per channel; they differ in type at most.
    channels : sequence of str
        Names of the channels.
    chunked_source : bool
        Whether the source can be read again at will; else it is ingested once.
    known : Known, optional
        What need not be done again.

    Returns
    -------
    Plan
    """
    first = chains[0]
    itemsize = max(chain.result_dtype.itemsize for chain in chains)
    works = split_passes(
        first.steps,
        level_bytes=[sum(c.levels[i].nbytes for c in chains) for i in range(len(first.levels))],
        rounds=[fit_rounds(chains, index) for index in range(len(first.steps))],
        chunked_source=chunked_source,
        known=known or Known(),
        repeated=[_repeated(first, index, itemsize) for index in range(len(first.steps))],
    )
    begun = known.slab if known else None
    passes = tuple(_measure(work, chains, begun if work.finishes else None) for work in works)
    return Plan(chains=tuple(chains), channels=tuple(channels), passes=passes)


def fit_rounds(chains: Sequence[Chain], index: int) -> int:
    """Return how many rounds the fit of a step takes: as many as that of any channel."""
    step = chains[0].steps[index]
    if not isinstance(step, StackFit):
        return 1
    return max(step.fit_rounds(chain.levels[index]) for chain in chains)


def split_passes(
    steps: Sequence[Step],
    *,
    level_bytes: Sequence[int],
    rounds: Sequence[int],
    chunked_source: bool,
    known: Known,
    repeated: Sequence[float] | None = None,
) -> tuple[Work, ...]:
    """Return the passes that a chain takes. The rule, all of it:

    1. A fit ends a pass: a pass computes as far as the fits that it knows allow, and
       gathers the summaries of every unknown fit that lies on its way.
    2. The last pass stores the result.
    3. An earlier pass stores if a heavy step lies in it, or if it reads a source that is
       not chunked (the ingestion). It stores the level, behind the last heavy step, with
       the fewest bytes; of equals the last one. Everything later starts from there.
    4. A step with ``checkpoint`` has its output stored where it is first computed.
    5. What is known is not done again: the first pass reads the last stored level that
       has all fits before it, and a known fit is not gathered.
    6. A step that needs neighboring slices ends a pass, too, if a heavy step lies before
       it in the pass and would thus be repeated, at the edges of blocks, for more than a
       tenth of the slices.

    Parameters
    ----------
    steps : sequence of Step
        The chain.
    level_bytes : sequence of int
        Size of each level, one more than steps.
    rounds : sequence of int
        Rounds that the fit of each step takes.
    chunked_source : bool
        Whether the source can be read in place.
    known : Known
        Stored levels, fits and rounds from before.
    repeated : sequence of float, optional
        What share of its input slices each step needs in more than one block.

    Returns
    -------
    tuple of Work
    """
    repeated = repeated or [0.0] * len(steps)
    last = len(steps)
    if last in known.stored:
        return ()
    fits, done = set(known.fits), dict(known.rounds)
    reads = _starting_level(steps, known)
    from_source = reads not in known.stored
    works: list[Work] = []
    while True:
        reach = reads
        while reach < last and set(steps[reach].needs) <= fits:
            if _repeats(steps[reads:reach], repeated[reach]):
                break
            reach += 1
        is_cut = reach < last and _repeats(steps[reads:reach], repeated[reach])
        gathers = tuple(
            Gather(index, done.get(step.name, 0))
            for index, step in enumerate(steps[reads : reach + (not is_cut)], start=reads)
            if step.fit_scope == "stack" and step.name not in fits
        )
        unfinished = any(rounds[gather.index] - gather.round > 1 for gather in gathers)
        is_last = reach == last and not unfinished
        end = reach if is_last or is_cut else max(gather.index for gather in gathers)
        if is_last:
            stores = (*_checkpoints(steps, reads, last - 1), last)
        else:
            is_ingestion = from_source and not chunked_source
            stores = _stores(steps, level_bytes, reads, end, is_ingestion)
        works.append(
            Work(
                reads=reads,
                end=end,
                from_source=from_source,
                stores=stores,
                gathers=gathers,
                finishes=is_last,
            )
        )
        if is_last:
            return tuple(works)
        if stores:
            reads, from_source = stores[-1], False
        for gather in gathers:
            name = steps[gather.index].name
            done[name] = gather.round + 1
            if done[name] == rounds[gather.index]:
                fits.add(name)


def _repeats(before: Sequence[Step], repeated: float) -> bool:
    """Whether a step in this place would have heavy work done twice."""
    return repeated > REPEATED and any(step.cost == "heavy" for step in before)


def _repeated(chain: Chain, index: int, itemsize: int) -> float:
    """Return the share of slices that a step needs twice, in the slabs that suit it best."""
    shape = chain.levels[-1].shape
    return overlap(chain, index) / thick_slab(shape, itemsize)


def _is_repeating(chain: Chain, work: Work) -> bool:
    """Whether some slices are repeated at the edges of blocks, and thick blocks are better.

    They are where heavy steps would be repeated, and where no slab of the result is held:
    there they take no memory.
    """
    first = work.reads
    if work.finishes:
        heavy = [i for i in range(work.reads, work.end) if chain.steps[i].cost == "heavy"]
        first = heavy[0] + 1 if heavy else work.end
    gathered = {g.index for g in work.gathers if g.index >= first}
    return any(overlap(chain, index) for index in {*range(first, work.end)} | gathered)


def _starting_level(steps: Sequence[Step], known: Known) -> int:
    gathered = {step.name: index for index, step in enumerate(steps) if step.fit_scope == "stack"}
    for level in sorted(known.stored, reverse=True):
        missing = {name for step in steps[level:] for name in step.needs} - known.fits
        if all(gathered[name] >= level for name in missing):
            return level
    return 0


def _stores(
    steps: Sequence[Step], level_bytes: Sequence[int], reads: int, end: int, is_ingestion: bool
) -> tuple[int, ...]:
    heavy = [level + 1 for level in range(reads, end) if steps[level].cost == "heavy"]
    stores = set(_checkpoints(steps, reads, end))
    if heavy or is_ingestion:
        candidates = range(max(heavy, default=reads), end + 1)
        stores.add(min(candidates, key=lambda level: (level_bytes[level], -level)))
    return tuple(sorted(stores))


def _checkpoints(steps: Sequence[Step], reads: int, end: int) -> list[int]:
    return [level + 1 for level in range(reads, end) if steps[level].checkpoint]


def _measure(work: Work, chains: Sequence[Chain], begun: int | None) -> Pass:
    """Return a pass; ``begun`` is how many slices the blocks of its result have already."""
    chain = chains[0]
    end = chain.levels[work.end]
    thickness = thick_slab if _is_repeating(chain, work) else slab_thickness
    slab = begun or thickness(end.shape, _stored_itemsize(chains, work))
    blocks = slabs(end.shape[0], slab)
    channels = tuple(k for k, each in enumerate(chains) if not each.own(work).is_idle)
    read = sum(
        _voxels_read(chains[k], chains[k].own(work), blocks)
        * chains[k].levels[work.reads].dtype.itemsize
        for k in channels
    )
    written = sum(_stored_bytes(each, level) for each in chains for level in work.stores)
    pixels = sum(prod(spec.shape) for spec in chain.levels[work.reads : work.end + 1])
    computing = sum(
        prod(chain.levels[index + 1].shape) * chain.steps[index].nanoseconds
        for index in range(work.reads, work.end)
    )
    nanoseconds = (read + written) * NANOSECONDS_PER_BYTE + len(channels) * (
        computing + (pixels * NANOSECONDS_OF_STATISTICS if work.stores else 0)
    )
    return Pass(
        work=work,
        slab=slab,
        blocks=blocks,
        channels=channels,
        is_gpu_work=chain.is_gpu_work(work),
        is_bound=any(level.is_bound for level in chain.levels[: work.end + 1]),
        bytes_read=read,
        bytes_written=written,
        bytes_on_disk=written + _copies_bytes(chains, work, slab),
        memory=WORKER_BASE + max(_block_bytes(chains[k], work, blocks) for k in channels),
        seconds=nanoseconds * 1e-9,
    )


def _voxels_read(chain: Chain, work: Work, blocks: Sequence[range]) -> int:
    end = chain.levels[work.end].region
    # where nothing is stored, slices that take no part in a fit are not read
    is_whole = bool(work.stores) or halo_depth(chain, work) > 0
    total = 0
    for block in blocks:
        parts = [block] if is_whole else [range(z, z + 1) for z in block]
        regions = [
            demands(chain, work, end.with_z(part.start, part.stop))[work.reads].region
            for part in parts
        ]
        needed = reduce(Region.joined, regions)
        slices = {z for region in regions if region.size for z in region.z}
        total += len(slices) * prod(needed.shape[1:])
    return total


def _stored_itemsize(chains: Sequence[Chain], work: Work) -> int:
    if work.finishes:
        return max(chain.result_dtype.itemsize for chain in chains)
    return max(chain.levels[work.end].dtype.itemsize for chain in chains)


def _stored_bytes(chain: Chain, level: int) -> int:
    spec = chain.levels[level]
    itemsize = chain.result_dtype.itemsize if level == len(chain.steps) else spec.dtype.itemsize
    return prod(spec.shape) * itemsize


def _copies_bytes(chains: Sequence[Chain], work: Work, slab: int) -> int:
    """Return the bytes of the coarser copies that come with the result."""
    if not work.finishes:
        return 0
    spec = chains[0].levels[-1]
    coarser = pyramid(spec.shape, spec.spacing(), slab)[1:]
    voxels = sum(prod(pooled_shape(spec.shape, factor)) for factor in coarser)
    return voxels * sum(chain.result_dtype.itemsize for chain in chains)


def _block_bytes(chain: Chain, work: Work, blocks: Sequence[range]) -> int:
    """Return what a block holds at once: windows, scratch, and the slab of the result."""
    block = blocks[len(blocks) // 2]
    starts = {block.start, *(_seen_slice(chain, gather) for gather in chain.own(work).gathers)}
    slab = 0
    if work.finishes:
        image = chain.levels[-1]
        slab = len(block) * prod(image.shape[1:]) * chain.result_dtype.itemsize
    batch = min(max(1, halo_depth(chain, work)), len(block))
    windows = max(_batch_bytes(chain, work, start, batch) for start in starts)
    return windows + round(SLAB_AND_SHARDS * slab)


def _seen_slice(chain: Chain, gather: Gather) -> int:
    """Return a slice in the middle that has a part in a fit: some fits look at few."""
    step, spec = stack_fit(chain.steps[gather.index]), chain.levels[gather.index]
    middle = spec.shape[0] // 2
    seen = step.estimate_slices((), spec) or {middle}
    return min(seen, key=lambda z: (abs(z - middle), z))


def _batch_bytes(chain: Chain, work: Work, start: int, batch: int) -> int:
    """Return what windows and scratch take for the slices of a block that are computed at once."""
    end = chain.levels[work.end].region
    last = end.stop[0]
    wanted = demands(chain, work, end.with_z(min(start, last - 1), min(start + batch, last)))
    windows = 0
    scratch = 0
    for level, demand in wanted.items():
        spec = chain.levels[level]
        size = demand.region.size
        windows += size * spec.dtype.itemsize
        if spec.fill and size:
            windows += size  # where padding is
        if level == chain.looks_for_fill:
            scratch = max(scratch, size * LOOKING)
        if level > work.reads and size:
            step, source = chain.steps[level - 1], chain.levels[level - 1]
            block_in = wanted[level - 1].region
            copied = block_in.size * source.dtype.itemsize if block_in.shape[0] > 1 else 0
            computed = size * spec.arithmetic.itemsize
            beside = _fill_bytes(block_in, source) + _fill_bytes(demand.region, spec)
            computed += step.scratch_bytes(demand.region, source)
            scratch = max(scratch, copied + computed + beside)
    for gather in chain.own(work).gathers:
        step, spec = stack_fit(chain.steps[gather.index]), chain.levels[gather.index]
        z = _seen_slice(chain, gather)
        own = spec.region.with_z(z, z + 1)
        seen = step.summary_source(own, spec)
        copied = seen.size * spec.dtype.itemsize if seen.shape[0] > 1 else 0
        copied += _fill_bytes(seen, spec)
        scratch = max(scratch, copied + step.summary_scratch_bytes(own, spec))
    return windows + scratch


LOOKING = 8  # bytes for a pixel: whether it has the gray level, and to which part it belongs


def _fill_bytes(region: Region, spec: StackSpec) -> int:
    """Return what leaving padding out of a region takes: copies without it, and where it is."""
    return region.size * (2 * spec.arithmetic.itemsize + 2) if spec.fill else 0

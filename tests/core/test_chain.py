"""Which region of every level a block needs, and who owns which slice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pystack3d_dask.core.chain import Chain, Gather, Work, demands, halo_depth, overlap, slabs
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit
from pystack3d_dask.core.step import Step
from pystack3d_dask.corrections.cropping import Cropping
from pystack3d_dask.engine.block import run_block

BYTE = np.dtype("u1")


@dataclass(frozen=True, kw_only=True)
class Halo(StackFit):
    """The mean over slices around each; counts its summaries, but needs no fit."""

    name = "halo"
    depth: int = 1
    rows: int = 0

    @property
    def fit_scope(self):
        return None

    def finalize(self, summaries, spec, partial=None):
        return {}

    def source(self, out, spec, fitted=None):
        grow = (self.depth, self.rows, 0)
        return out.grown(grow, grow).clipped(spec.shape)

    def summarize(self, block, partial=None):
        return {z: {"sum": np.array(block.values.sum())} for z in block.out.z}

    def apply(self, block, fitted=None):
        windows = [
            self.source(block.out.with_z(z, z + 1), block.spec).relative_to(block.source)
            for z in block.out.z
        ]
        inner = block.out.relative_to(block.source).slices[1:]
        means = [block.values[w.slices[0]].mean(axis=0, dtype=np.float32)[inner] for w in windows]
        return np.stack(means), {}


@dataclass(frozen=True, kw_only=True)
class Trim(Step):
    """Keeps some slices in the middle."""

    name = "trim"
    keeps_slices = False
    before: int = 0
    after: int = 0

    def output_spec(self, spec, fitted=None):
        return spec.cropped(spec.region.with_z(self.before, max(self._stop(spec), self.before)))

    def _stop(self, spec):
        return spec.shape[0] - self.after

    def source(self, out, spec, fitted=None):
        return out.shifted((self.before, 0, 0))

    def apply(self, block, fitted=None):
        return block.values, {}


@dataclass(frozen=True, kw_only=True)
class Double(Step):
    """Twice as many slices, linear in between."""

    name = "double"
    keeps_slices = False

    def output_spec(self, spec, fitted=None):
        return replace(spec.computed(), shape=(2 * spec.shape[0] - 1, *spec.shape[1:]))

    def source(self, out, spec, fitted=None):
        return out.with_z(out.start[0] // 2, out.stop[0] // 2 + 1).clipped(spec.shape)

    def apply(self, block, fitted=None):
        pairs = [
            (z // 2 - block.source.start[0], (z + 1) // 2 - block.source.start[0])
            for z in block.out.z
        ]
        return np.stack(
            [(block.values[a] / 2 + block.values[b] / 2).astype("f4") for a, b in pairs]
        ), {}


steps = st.lists(
    st.one_of(
        st.builds(Halo, depth=st.integers(0, 2)),
        st.builds(Trim, before=st.integers(0, 2), after=st.integers(0, 2)),
        st.just(Double()),
        st.just(Cropping(area=(1, 5, 0, 4))),
    ),
    max_size=4,
).map(tuple)


def chain_of(steps, slices=11):
    return Chain(steps, StackSpec(shape=(slices, 6, 7), dtype=BYTE, source_dtype=BYTE))


def partition(data, count):
    cuts = sorted(data.draw(st.sets(st.integers(1, max(count - 1, 1)), max_size=5)) - {count})
    return [range(a, b) for a, b in zip([0, *cuts], [*cuts, count], strict=True)]


@settings(deadline=None)
@given(steps=steps, data=st.data())
def test_blocks_that_partition_the_last_level_partition_all(steps, data):
    chain = chain_of(steps, 19)
    end = len(steps)
    blocks = partition(data, chain.levels[end].shape[0])
    for level in range(end + 1):
        owned = [chain.owned(block, end, level) for block in blocks]
        found = [z for slices in owned for z in slices]
        assert found == [*range(chain.levels[level].shape[0])]


@settings(deadline=None)
@given(steps=steps, data=st.data(), stores=st.sets(st.integers(0, 4)))
def test_a_block_reads_what_it_demands_and_gives_the_same_pixels(steps, data, stores):
    chain = chain_of(steps, 19)
    end = len(steps)
    images = np.random.default_rng(0).integers(0, 255, chain.source.shape, BYTE)
    gathers = tuple(Gather(k) for k, step in enumerate(steps) if isinstance(step, Halo))[:1]
    kept = tuple(sorted({level for level in stores if level < end} | {end}))
    work = Work(reads=0, end=end, stores=kept, gathers=gathers)

    def run(blocks):
        levels = {level: {} for level in kept}
        sums = {}
        for block in blocks:
            region = chain.levels[end].region.with_z(block.start, block.stop)
            demanded = demands(chain, work, region)[0].region

            def read(asked, demanded=demanded):
                assert asked.joined(demanded) == demanded
                return images[asked.slices]

            def emit(level, z, image):
                assert z not in levels[level]
                levels[level][z] = image

            report = run_block(chain, work, region, read, emit)
            for found in report.summaries.values():
                assert not sums.keys() & found.keys()
                sums |= found
        return levels, sums

    count = chain.levels[end].shape[0]
    expected, sums = run([range(count)])
    found, other_sums = run(partition(data, count))
    for level in kept:
        assert [*found[level]] == [*range(chain.levels[level].shape[0])]
        for z, image in expected[level].items():
            np.testing.assert_array_equal(found[level][z], image)
    assert sums == other_sums


@settings(deadline=None)
@given(steps=steps, data=st.data())
def test_what_a_region_pulls_lies_inside_every_level(steps, data):
    chain = chain_of(steps, 19)
    end, count = len(steps), chain.levels[-1].shape[0]
    first = data.draw(st.integers(0, count - 1))
    out = chain.levels[end].region.with_z(first, data.draw(st.integers(first + 1, count)))
    for level in range(end + 1):
        region = chain.pulled(out, end, level)
        assert region == region.clipped(chain.levels[level].shape)
        assert region.size


def test_only_the_rows_and_columns_that_are_needed_are_demanded():
    chain = chain_of((Halo(depth=1, rows=1), Cropping(area=(1, 5, 0, 4))))
    block = Region((3, 0, 0), (5, 4, 4))
    wanted = demands(chain, Work(reads=0, end=2, stores=(2,)), block)
    assert wanted[1].region == Region((3, 2, 1), (5, 6, 5))
    assert wanted[0].region == Region((2, 1, 1), (6, 6, 5))


def test_a_level_that_is_stored_is_demanded_whole():
    chain = chain_of((Halo(), Cropping(area=(1, 5, 0, 4))))
    wanted = demands(chain, Work(reads=0, end=2, stores=(1, 2)), Region((3, 0, 0), (5, 4, 4)))
    assert wanted[1].region == Region((3, 0, 0), (5, 6, 7))


@dataclass(frozen=True, kw_only=True)
class WholeRows(Halo):
    @property
    def whole(self):
        return ("x",)


def test_axes_that_a_kernel_needs_entire_are_never_cut():
    chain = chain_of((WholeRows(depth=0),))
    assert chain.step_source(0, Region((0, 2, 3), (1, 4, 5))) == Region((0, 2, 0), (1, 4, 7))


@pytest.mark.parametrize(("depths", "deepest"), [((), 0), ((0,), 0), ((1, 0), 2), ((1, 2), 4)])
def test_the_deepest_halo_counts(depths, deepest):
    chain = chain_of(tuple(Halo(depth=depth) for depth in depths))
    assert halo_depth(chain, Work(reads=0, end=len(depths))) == deepest


@given(st.integers(1, 40), st.integers(1, 12))
def test_slabs_partition_and_only_the_last_is_thinner(count, thickness):
    found = slabs(count, thickness)
    assert [z for slab in found for z in slab] == [*range(count)]
    assert all(len(slab) == thickness for slab in found[:-1])


def test_fits_are_known_once_they_are_given():
    from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea

    chain = chain_of((IntensityRescalingArea(),))
    assert not chain.is_applicable(0)
    assert chain.fitted(0) is None
    fitted = chain.with_fits({"intensity_rescaling_area": {"factors": np.ones(11)}})
    assert fitted.is_applicable(0)
    assert fitted.fitted(0).keys() == {"factors"}
    assert not chain.is_applicable(0)


@dataclass(frozen=True, kw_only=True)
class Prepares(Halo):
    """Works out from the fit of ``lender``, once, what it adds."""

    name = "prepares"
    depth: int = 0

    @property
    def needs(self):
        return ("lender",)

    def prepare(self, fits, spec):
        return {"offset": fits["lender"]["mean"] + spec.shape[0]}

    def apply(self, block, fitted=None):
        return block.values + fitted["offset"].astype("f4"), {}


@dataclass(frozen=True, kw_only=True)
class Lender(Halo):
    """A fit on three slices around each, made on one channel for all; pixels pass through."""

    name = "lender"
    depth: int = 0
    reach: int = 1

    @property
    def fit_scope(self):
        return "stack"

    @property
    def needs(self):
        return ()

    def output_spec(self, spec, fitted=None):
        return spec

    def summary_source(self, out, spec):
        return out.grown((self.reach, 0, 0), (self.reach, 0, 0)).clipped(spec.shape)

    def summarize(self, block, partial=None):
        return {z: {"mean": image.mean()} for z, image in block.images()}

    def finalize(self, summaries, spec, partial=None):
        return {"mean": np.mean([each["mean"] for each in summaries.values()])}

    def apply(self, block, fitted=None):
        return block.values, {}


LENT = {"lender": {"mean": np.array(5.0)}}


def test_what_a_step_prepares_is_what_its_kernels_get():
    chain = chain_of((Lender(), Prepares()))
    assert chain.fitted(1) is None
    with_fits = chain.with_fits(LENT)
    assert with_fits.fitted(1) == {"offset": np.array(16.0)}
    images = np.zeros(chain.source.shape, BYTE)
    found = []
    run_block(
        with_fits,
        Work(reads=0, end=2, stores=(2,)),
        with_fits.levels[2].region,
        lambda region: images[region.slices],
        lambda level, z, image: found.append(image),
    )
    np.testing.assert_array_equal(found, images + 16)


def test_a_step_that_prepares_nothing_gets_nothing():
    assert chain_of((Halo(), Lender())).fitted(0) is None
    assert chain_of((Lender(),), 3).fitted(0) is None


def test_a_step_gets_its_own_fit_even_if_its_pixels_do_not_need_it():
    assert chain_of((Lender(),), 3).with_fits(LENT).fitted(0) == LENT["lender"]


@dataclass(frozen=True, kw_only=True)
class Other(Lender):
    """Has a fit of its own, and uses that of ``lender``, with arrays of the same names."""

    name = "other"

    @property
    def needs(self):
        return ("lender", "other")

    def prepare(self, fits, spec):
        return {name: fit["mean"] for name, fit in fits.items()}


def test_fits_with_arrays_of_the_same_names_stay_apart():
    chain = chain_of((Lender(), Other())).with_fits({**LENT, "other": {"mean": np.array(7.0)}})
    assert chain.fitted(1) == {"lender": 5.0, "other": 7.0}


def test_a_fit_that_is_borrowed_is_not_gathered():
    chain = chain_of((Lender(), Halo(), Prepares()))
    work = Work(reads=0, end=1, gathers=(Gather(0), Gather(1)))
    assert chain.own(work) == work
    borrower = replace(chain, borrowed=frozenset({"lender"}))
    assert borrower.own(work) == replace(work, gathers=(Gather(1),))
    alone = replace(work, gathers=(Gather(0),))
    assert not alone.is_idle
    assert borrower.own(alone).is_idle
    stores = replace(alone, stores=(1,))
    assert not borrower.own(stores).is_idle
    whole = chain.levels[1].region
    assert demands(borrower, borrower.own(alone), whole)[0].region.size == 0
    assert demands(chain, alone, whole)[0].region == chain.source.region


@pytest.mark.parametrize(
    ("step", "slices"),
    [
        (Halo(depth=0), 0),
        (Halo(depth=2), 4),
        (Double(), 1),
        (Cropping(area=(1, 5, 0, 4)), 0),
        (Lender(reach=3), 6),
        (Lender(reach=0), 0),
    ],
)
def test_the_overlap_is_what_a_step_needs_beyond_its_own_slice(step, slices):
    assert overlap(chain_of((step,)), 0) == slices


def test_the_overlap_of_a_single_slice_is_none():
    assert overlap(chain_of((Halo(depth=2),), 1), 0) == 0
    assert overlap(chain_of((Lender(reach=3),), 1), 0) == 0


def test_slices_belong_to_the_same_block_through_steps_that_keep_them():
    chain = chain_of((Halo(depth=2), Trim(before=2, after=1), Halo()), 19)
    assert chain.owned(range(3, 5), 3, 2) == range(3, 5)
    assert chain.owned(range(3, 5), 3, 0) == range(5, 7)
    assert chain.owned(range(0, 3), 3, 0) == range(0, 5)  # those before the first one too
    assert chain.owned(range(12, 16), 3, 0) == range(14, 19)  # and those behind the last

"""The rule for passes, clause by clause, and what a plan counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.chain import Chain, Gather, Work
from pystack3d_dask.core.plan import Known, Plan
from pystack3d_dask.core.planner import fit_rounds, make_plan, split_passes
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries
from pystack3d_dask.core.step import Step
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.bkg_removal import BackgroundRemoval
from pystack3d_dask.corrections.cropping import Cropping, CroppingFinal
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.corrections.intensity_rescaling import IntensityRescaling
from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.corrections.registration_transformation import RegistrationTransformation
from pystack3d_dask.corrections.resampling import Resampling
from pystack3d_dask.kernels.destriping.vsnr import Filter

CROP = Cropping(area=(10, 60, 10, 60))
STACK_BACKGROUND = BackgroundRemoval(orders=(1, 2, 1))
SLICE_BACKGROUND = BackgroundRemoval(orders=(1, 2))
RESCALING = IntensityRescaling()
AREA = IntensityRescalingArea()


@dataclass(frozen=True, kw_only=True)
class Heavy(Step):
    """A costly step without a fit."""

    name: ClassVar[str] = "heavy"
    cost: ClassVar[Any] = "heavy"

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        return block.values.astype(np.float32), {}


@dataclass(frozen=True, kw_only=True)
class Calculation(Heavy, StackFit):
    """A fit that another step applies, as registration has it; leaves the stack as it is."""

    name: ClassVar[str] = "calculation"
    cost: ClassVar[Any] = "light"

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        return spec

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        return {z: {"mean": image.mean()} for z, image in block.images()}

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        return {"mean": np.array([each["mean"] for each in summaries.values()])}


@dataclass(frozen=True, kw_only=True)
class Transformation(Heavy):
    """Applies what ``Calculation`` found."""

    name: ClassVar[str] = "transformation"
    cost: ClassVar[Any] = "light"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("calculation",)


def spec(dtype: str = "uint8", precision: Any = "float32", slices: int = 40) -> StackSpec:
    return StackSpec(
        shape=(slices, 70, 80),
        dtype=np.dtype(dtype),
        source_dtype=np.dtype(dtype),
        precision=precision,
    )


def passes(
    *steps: Step,
    chunked: bool = False,
    known: Known | None = None,
    stack: StackSpec | None = None,
) -> tuple[Work, ...]:
    chain = Chain(steps, stack or spec())
    return split_passes(
        steps,
        level_bytes=[level.nbytes for level in chain.levels],
        rounds=[fit_rounds([chain], index) for index in range(len(steps))],
        chunked_source=chunked,
        known=known or Known(),
    )


def outline(works: Sequence[Work]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(work.reads, work.end, work.stores) for work in works]


def test_steps_without_a_stack_wide_fit_take_one_pass_from_the_source_to_the_result() -> None:
    assert outline(passes(CROP, SLICE_BACKGROUND, CroppingFinal())) == [(0, 3, (3,))]


def test_a_chain_without_steps_takes_one_pass() -> None:
    assert outline(passes()) == [(0, 0, (0,))]


def test_a_stack_wide_fit_ends_a_pass_that_ingests_what_cropping_leaves() -> None:
    assert outline(passes(CROP, STACK_BACKGROUND)) == [(0, 1, (1,)), (1, 2, (2,))]


def test_only_the_last_pass_makes_the_result() -> None:
    works = passes(CROP, STACK_BACKGROUND, RESCALING)
    assert [work.finishes for work in works] == [False, False, True]


def test_every_fit_on_the_way_is_gathered_in_one_pass() -> None:
    works = passes(Calculation(), AREA, Transformation())
    assert works[0].gathers == (Gather(0), Gather(1))
    assert outline(works) == [(0, 1, (1,)), (1, 3, (3,))]


def test_a_fit_that_nobody_applies_is_gathered_by_the_last_pass() -> None:
    works = passes(CROP, Calculation())
    assert outline(works) == [(0, 2, (2,))]
    assert works[0].gathers == (Gather(1),)


def test_between_light_passes_nothing_is_stored_again() -> None:
    works = passes(CROP, STACK_BACKGROUND, RESCALING, AREA)
    assert outline(works) == [(0, 1, (1,)), (1, 2, ()), (1, 3, ()), (1, 4, (4,))]


def test_an_ingested_source_is_not_ingested_again() -> None:
    works = passes(STACK_BACKGROUND, RESCALING)
    assert outline(works) == [(0, 0, (0,)), (0, 1, ()), (0, 2, (2,))]
    assert [work.from_source for work in works] == [True, False, False]


def test_a_chunked_source_is_not_ingested() -> None:
    works = passes(CROP, STACK_BACKGROUND, RESCALING, chunked=True)
    assert outline(works) == [(0, 1, ()), (0, 2, ()), (0, 3, (3,))]


def test_a_heavy_step_is_never_computed_twice() -> None:
    works = passes(CROP, Heavy(), RESCALING, chunked=True)
    assert outline(works) == [(0, 2, (2,)), (2, 3, (3,))]


def test_what_is_stored_is_the_smallest_level_behind_the_last_heavy_step() -> None:
    works = passes(Heavy(), CROP, SLICE_BACKGROUND, RESCALING)
    assert outline(works) == [(0, 3, (3,)), (3, 4, (4,))]  # equal in size: the later one
    assert outline(passes(SLICE_BACKGROUND, RESCALING)) == [(0, 1, (0,)), (0, 2, (2,))]


def test_in_source_precision_arithmetic_does_not_make_levels_larger() -> None:
    works = passes(SLICE_BACKGROUND, RESCALING, stack=spec(precision="source"))
    assert outline(works) == [(0, 1, (1,)), (1, 2, (2,))]


def test_a_checkpoint_is_stored_and_read_from() -> None:
    kept = BackgroundRemoval(orders=(1, 2, 1), checkpoint=True)
    works = passes(CROP, kept, RESCALING)
    assert outline(works) == [(0, 1, (1,)), (1, 2, (2,)), (2, 3, (3,))]


def test_a_fit_of_two_rounds_takes_a_pass_for_each() -> None:
    works = passes(CROP, RESCALING, stack=spec("float32"))
    assert [work.gathers for work in works] == [(Gather(1, 0),), (Gather(1, 1),), ()]
    given = IntensityRescaling(range_bins=(0.0, 1.0))
    assert len(passes(CROP, given, stack=spec("float32"))) == 2


def test_known_fits_and_levels_are_not_made_again() -> None:
    known = Known(stored=frozenset({1}), fits=frozenset({"bkg_removal"}))
    works = passes(CROP, STACK_BACKGROUND, RESCALING, known=known)
    assert outline(works) == [(1, 2, ()), (1, 3, (3,))]


def test_a_round_that_is_done_is_not_made_again() -> None:
    known = Known(stored=frozenset({1}), rounds={"intensity_rescaling": 1})
    works = passes(CROP, RESCALING, stack=spec("float32"), known=known)
    assert [work.gathers for work in works] == [(Gather(1, 1),), ()]


def test_a_stored_level_behind_a_missing_fit_is_not_used() -> None:
    known = Known(stored=frozenset({2}))
    works = passes(Calculation(), Heavy(), Transformation(), known=known)
    assert outline(works)[0][0] == 0


def test_a_complete_result_leaves_nothing_to_do() -> None:
    assert passes(CROP, STACK_BACKGROUND, known=Known(stored=frozenset({2}))) == ()


@pytest.mark.parametrize(
    ("steps", "chunked", "reads", "writes"),
    [
        ((), False, 1, 1),
        ((CROP,), False, 1, 1),
        ((CROP, SLICE_BACKGROUND), False, 1, 1),
        ((CROP, STACK_BACKGROUND), False, 2, 2),
        ((CROP, STACK_BACKGROUND, RESCALING), False, 3, 2),
        ((CROP, STACK_BACKGROUND, RESCALING), True, 3, 1),
        ((CROP, STACK_BACKGROUND, RESCALING, AREA, CroppingFinal()), False, 4, 2),
        ((STACK_BACKGROUND, CROP), False, 2, 2),
    ],
)
def test_reads_and_writes_of_the_stack(
    steps: tuple[Step, ...], chunked: bool, reads: int, writes: int
) -> None:
    plan = make_plan([Chain(steps, spec())], ["."], chunked_source=chunked)
    assert (plan.reads, plan.writes) == (reads, writes)


def test_only_the_region_that_is_needed_is_counted_as_read() -> None:
    plan = make_plan([Chain((CROP, SLICE_BACKGROUND), spec())], ["."], chunked_source=False)
    assert plan.passes[0].bytes_read == 40 * 50 * 50


def test_of_a_chunked_source_only_the_sampled_slices_are_read() -> None:
    plan = make_plan([Chain((STACK_BACKGROUND,), spec())], ["."], chunked_source=True)
    assert plan.passes[0].bytes_read == 4 * 70 * 80


def test_there_is_a_task_for_each_block_and_channel() -> None:
    chains = [Chain((CROP,), spec()), Chain((CROP,), spec("uint16"))]
    plan = make_plan(chains, ["ESB", "SE2"], chunked_source=False)
    assert plan.tasks == 2 * 10
    assert plan.passes[0].bytes_written == 40 * 50 * 50 * (1 + 2)


def test_a_plan_can_be_read() -> None:
    chain = Chain((CROP, STACK_BACKGROUND, RESCALING), spec())
    text = str(make_plan([chain], ["ESB"], chunked_source=False))
    assert "1 channel (ESB): 40 slices of 80 x 70 uint8 -> 40 slices of 50 x 50 uint8" in text
    assert "pass 1  reads the source; applies cropping; fits bkg_removal; stores" in text
    assert "3 reads and 2 writes of the stack" in text


def test_every_registered_step_can_be_planned_first() -> None:
    needed = {
        "bkg_removal": {"orders": (1, 1, 1)},
        "registration_calculation": {"transformation": "TRANSLATION"},
        "resampling": {"dz": 0.01, "z_source": tuple(0.01 * k for k in range(40))},
    }
    made = {name: step(**needed.get(name, {})) for name, step in registry().items()}
    for step in made.values():
        others = [made[name] for name in step.needs if name != step.name]
        chain = Chain((*others, step), spec())
        assert make_plan([chain], ["."], chunked_source=False).passes


CALCULATION = RegistrationCalculation(transformation="TRANSLATION")
TRANSFORMATION = RegistrationTransformation()
DESTRIPING = Destriping(filters=(Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 30.0)),))
LOCAL = BackgroundRemoval(method="local", size=(20, 20, 5))


def resampling(slices: int, dz: float = 0.013) -> Resampling:
    return Resampling(dz=dz, z_source=tuple(0.01 * k for k in range(slices)))


def seven_steps(slices: int) -> tuple[Step, ...]:
    found = (CALCULATION, TRANSFORMATION, DESTRIPING, resampling(slices))
    return (CROP, STACK_BACKGROUND, RESCALING, *found)


def planned(*steps: Step, slices: int = 200, chunked: bool = False) -> Plan:
    return make_plan([Chain(steps, spec(slices=slices))], ["."], chunked_source=chunked)


def test_seven_steps_take_four_reads_and_two_writes() -> None:
    shape = (200, 2000, 2000)
    source = StackSpec(shape=shape, dtype=np.dtype("u1"), source_dtype=np.dtype("u1"))
    crop = Cropping(area=(100, 1900, 100, 1900))
    chain = Chain((crop, *seven_steps(200)[1:]), source)
    plan = make_plan([chain], ["."], chunked_source=False)
    assert (plan.reads, plan.writes) == (4, 2)
    ingested, background, rescaled, last = plan.passes
    assert (ingested.work.stores, last.work.stores) == ((1,), (7,))
    assert background.work.gathers == (Gather(2),)
    assert rescaled.work.gathers == (Gather(3),)
    cropped, output = 200 * 1800 * 1800, plan.chains[0].levels[7].shape[0] * 1800 * 1800
    assert sum(item.bytes_written for item in plan.passes) == cropped + output
    # registration compares with three slices before, resampling blends two
    assert [item.slab for item in (rescaled, last)] == [16, 16]
    assert rescaled.bytes_read == cropped + 12 * 3 * 1800 * 1800
    assert last.bytes_read <= cropped + 12 * 1800 * 1800


@pytest.mark.parametrize("slices", [130, 200, 1000])
def test_neighbors_behind_heavy_work_are_repeated_where_slabs_are_thick(slices: int) -> None:
    plan = planned(DESTRIPING, resampling(slices), slices=slices, chunked=True)
    assert outline([item.work for item in plan.passes]) == [(0, 2, (2,))]
    assert plan.passes[0].slab == 16


@pytest.mark.parametrize("dz", [0.01, 0.005, 0.015])
def test_of_resampled_slices_some_are_copies_and_others_are_not(dz: float) -> None:
    plan = planned(DESTRIPING, resampling(48, dz), slices=48, chunked=True)
    assert len(plan.passes) == (1 if dz == 0.01 else 2)


@pytest.mark.parametrize("slices", [20, 48, 90, 120])
def test_a_pass_ends_before_neighbors_would_repeat_heavy_work(slices: int) -> None:
    plan = planned(DESTRIPING, resampling(slices), slices=slices, chunked=True)
    assert outline([item.work for item in plan.passes]) == [(0, 1, (1,)), (1, 2, (2,))]
    assert plan.passes[0].work.finishes is False
    for item in plan.passes:
        assert item.bytes_read <= 2 * 4 * slices * 70 * 80


def test_a_local_background_behind_heavy_work_ends_the_pass() -> None:
    plan = planned(DESTRIPING, LOCAL)
    assert outline([item.work for item in plan.passes]) == [(0, 1, (1,)), (1, 1, ()), (1, 2, (2,))]
    assert len(planned(LOCAL, DESTRIPING).passes) == 2
    assert len(planned(CROP, LOCAL).passes) == 2


def test_a_fit_on_neighbors_behind_heavy_work_is_gathered_in_the_next_pass() -> None:
    plan = planned(DESTRIPING, CALCULATION, TRANSFORMATION)
    first, second, last = (item.work for item in plan.passes)
    assert outline([first, second, last]) == [(0, 1, (1,)), (1, 1, ()), (1, 3, (3,))]
    assert (first.gathers, second.gathers) == ((), (Gather(1),))


def test_what_a_cut_pass_stores_is_what_the_next_one_reads() -> None:
    known = Known(stored=frozenset({1}))
    steps = (DESTRIPING, SLICE_BACKGROUND)
    assert outline(
        split_passes(
            steps,
            level_bytes=[1, 4, 4],
            rounds=[1, 1],
            chunked_source=True,
            known=known,
            repeated=[0.0, 0.5],
        )
    ) == [(1, 2, (2,))]


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.11, 2), (3.0, 2)])
def test_a_tenth_of_the_slices_may_be_repeated(share: float, count: int) -> None:
    works = split_passes(
        (Heavy(), SLICE_BACKGROUND),
        level_bytes=[1, 4, 4],
        rounds=[1, 1],
        chunked_source=True,
        known=Known(),
        repeated=[0.0, share],
    )
    assert len(works) == count


def two_channels(*steps: Step, lender: int = 0, chunked: bool = True) -> Plan:
    chains = [
        Chain(steps, spec(), borrowed=frozenset({CALCULATION.name} if k != lender else ()))
        for k in range(2)
    ]
    return make_plan(chains, ["ESB", "SE2"], chunked_source=chunked)


@pytest.mark.parametrize("lender", [0, 1])
def test_only_the_channel_that_is_compared_has_tasks_in_a_pass_for_that(lender: int) -> None:
    plan = two_channels(CALCULATION, TRANSFORMATION, lender=lender)
    first, last = plan.passes
    assert (first.channels, last.channels) == ((lender,), (0, 1))
    assert (first.tasks, last.tasks) == (len(first.blocks), 2 * len(last.blocks))
    both = last.bytes_read
    assert both == 2 * 40 * 70 * 80
    assert first.bytes_read < both
    assert plan.tasks == first.tasks + last.tasks


def test_all_channels_take_part_where_something_is_stored_or_fitted_for_each() -> None:
    ingested = two_channels(CALCULATION, TRANSFORMATION, chunked=False)
    assert [item.channels for item in ingested.passes] == [(0, 1), (0, 1)]
    fitted = two_channels(AREA, CALCULATION, TRANSFORMATION, lender=1)
    assert [item.work.gathers for item in fitted.passes] == [(Gather(0),), (Gather(1),), ()]
    assert [item.channels for item in fitted.passes] == [(0, 1), (1,), (0, 1)]

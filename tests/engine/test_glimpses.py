"""Runs tell whether a correction took parts of the specimen, whatever their blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stacks import STEPS as STACK_STEPS
from stacks import make_project, spoil
from striped import specimen, stripes

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.engine.block import run_block
from pystack3d_dask.engine.glimpses import (
    RUNS,
    SIDE,
    does_harm,
    glimpse,
    harm_remarks,
    is_seen,
    known_harm,
    products_by_run,
    runs,
)
from pystack3d_dask.engine.summary import load_figures
from pystack3d_dask.kernels.destriping.noise_model import Gabor
from pystack3d_dask.kernels.taken import NAMES, RUN
from pystack3d_dask.pipeline import Pipeline

GABOR = {"name": "Gabor", "noise_level": 20, "sigma": [1, 30], "theta": 0}
STEPS = {"destriping": {"filters": [GABOR], "maxit": 30}}


def stored(stack):
    return np.clip(np.rint(stack), 0, 255).astype(np.uint8)


def corrected(directory, stack, steps=STEPS, **settings):
    pipeline = Pipeline.from_toml(make_project(directory, steps, stored(stack), **settings))
    return pipeline, pipeline.run()


def test_a_filter_that_takes_the_specimen_is_named(tmp_path):
    pipeline, done = corrected(tmp_path / "p", specimen())
    (remark,) = done.remarks
    assert remark.startswith("destriping: ")
    assert "is in neighboring slices, too" in remark
    assert "export DIR --removed destriping --tiff OUTDIR" in remark
    summary = json.loads(pipeline.project.workspace.summary.read_text())
    assert remark in summary["remarks"]


def test_a_filter_that_takes_stripes_is_not(tmp_path):
    steps = {"destriping": {"filters": [{**GABOR, "noise_level": 2, "sigma": [1, 200]}]}}
    pipeline, done = corrected(tmp_path / "p", specimen() + stripes(rms=14), steps)
    assert done.remarks == ()
    figures = load_figures(pipeline.project, 1)
    square, own, shared = (np.nanmean(figures[name]) for name in NAMES[:3])
    assert square > 0.25 * 14**2
    assert square - 2 * (own - shared) < -0.25 * 14**2


def test_curtains_that_go_on_through_slices_are_not_warned_of(tmp_path):
    curtains = np.broadcast_to(stripes((1, 160, 176), rms=20), specimen().shape)
    steps = {"destriping": {"filters": [{**GABOR, "noise_level": 2, "sigma": [1, 200]}]}}
    pipeline, done = corrected(tmp_path / "p", specimen() + curtains, steps)
    assert done.remarks == ()
    square, own, shared = (np.nanmean(load_figures(pipeline.project, 1)[n]) for n in NAMES[:3])
    assert square > 0.25 * 20**2
    assert shared > 0.8 * own


def test_other_corrections_are_not_judged_by_neighbors(tmp_path):
    pipeline, done = corrected(
        tmp_path / "p", specimen(), {"bkg_removal": STACK_STEPS["bkg_removal"]}
    )
    assert done.remarks == ()
    assert not set(NAMES) & set(load_figures(pipeline.project, 1))


@pytest.mark.parametrize("slices", [1, 2, 3, 8])
def test_of_few_slices_nothing_is_sure(tmp_path, slices):
    _, done = corrected(tmp_path / "p", specimen()[:slices])
    assert done.remarks == ()


def test_slices_that_were_made_of_several_are_not_judged(tmp_path):
    steps = {"resampling": {"dz": 0.005}, **STEPS}
    _, done = corrected(tmp_path / "p", specimen(), steps)
    assert done.remarks == ()


def test_slices_that_stand_in_for_others_are_not_judged(tmp_path):
    steps = {"destriping": {"filters": [{**GABOR, "noise_level": 2, "sigma": [1, 200]}]}}
    directory = make_project(
        tmp_path / "p", steps, stored(specimen() + stripes(rms=14)), bad_slices="interpolate"
    )
    files = sorted(directory.glob("*.tif"))
    for file in files[1::3]:
        spoil(file)
    pipeline = Pipeline.from_toml(directory)
    assert not [each for each in pipeline.run().remarks if "neighbor" in each]
    assert not set(NAMES) & set(load_figures(pipeline.project, 1))


def test_slices_that_are_there_twice_are_not_judged(tmp_path):
    stack = np.repeat(specimen()[:8] + stripes(rms=14)[:8], 2, axis=0)
    pipeline, done = corrected(tmp_path / "p", stack)
    assert done.remarks == ()
    assert not set(NAMES) & set(load_figures(pipeline.project, 1))


def test_a_correction_that_adds_to_slices_takes_no_specimen():
    before, added = specimen((24, 128, 128)), stripes((24, 128, 128))
    for after in (before + added, before - 0.5 * added):
        found = judged_stack(before, after)
        assert does_harm(found)
        (remark,) = harm_remarks(one_step(before), [{}, figures_of(before, after)])
        assert remark.startswith("destriping: slices are less like their neighbors than before")
        assert "nan" not in remark


def test_later_steps_do_not_hide_harm(tmp_path):
    steps = {**STEPS, "resampling": {"dz": 0.013}}
    _, done = corrected(tmp_path / "p", specimen(), steps)
    assert any("is in neighboring slices, too" in each for each in done.remarks)


def test_each_channel_is_judged_by_itself(tmp_path):
    stack = {"one": stored(specimen()), "two": stored(np.full_like(specimen(), 90))}
    pipeline = Pipeline.from_toml(make_project(tmp_path / "p", STEPS, stack))
    (remark,) = pipeline.run().remarks
    assert remark.startswith("one: destriping: ")


def products_of(before, after):
    """Return what is found of each run of a stack."""
    spec = StackSpec(shape=before.shape, dtype=before.dtype, source_dtype=before.dtype)
    block = Block(before, spec.region, spec.region, spec)
    return products_by_run({z: glimpse(block, after, z) for z in range(len(before))}, len(before))


def figures_of(before, after):
    """Return the figures of a correction, as a run stores them."""
    found = {name: np.full(len(before), np.nan) for name in NAMES}
    for z, values in products_of(before, after).items():
        for name in NAMES:
            found[name][z] = values[name]
    return found


def judged_stack(before, after):
    return known_harm(figures_of(before, after))


def one_step(images):
    """Return a chain of destriping."""
    spec = StackSpec(shape=images.shape, dtype=images.dtype, source_dtype=images.dtype)
    return Chain((Destriping(filters=[Gabor(noise_level=20, sigma=(1, 30))], maxit=5),), spec)


def test_what_is_seen_does_not_depend_on_blocks():
    images = specimen((9, 140, 200)).astype(np.float32)
    chain = one_step(images)
    spec = chain.source
    work = Work(reads=0, end=1, stores=(1,), finishes=True)

    def seen(depth):
        found = {}
        for first in range(0, len(images), depth):
            block = spec.region.with_z(first, min(first + depth, len(images)))
            report = run_block(chain, work, block, lambda r: images[r.slices], lambda *_: None)
            found |= report.glimpses.get(1, {})
        return products_by_run(found, len(images))

    whole = seen(9)
    assert list(whole) == runs(9)
    for depth in (1, 2, 4):
        assert seen(depth) == whole


@pytest.mark.parametrize("slices", [0, 1, 2, 3, 4, 10, 500])
def test_runs_are_whole_and_all_over_the_stack(slices):
    found = runs(slices)
    assert len(found) == min(RUNS, slices // RUN)
    assert sum(is_seen(z, slices) for z in range(slices)) == len(found) * RUN
    if len(found) > 1:
        assert found[0] == 0
        assert found[-1] + RUN == slices


def test_glimpses_of_large_slices_are_small():
    images = np.zeros((3, 600, 900), np.float32)
    spec = StackSpec(shape=images.shape, dtype=images.dtype, source_dtype=images.dtype)
    step = Destriping(filters=[Gabor(noise_level=20, sigma=(1, 30))], maxit=1)
    report = run_block(
        Chain((step,), spec),
        Work(reads=0, end=1, stores=(1,), finishes=True),
        spec.region,
        lambda r: images[r.slices],
        lambda *_: None,
    )
    for seen in report.glimpses[1].values():
        assert {each.shape for each in seen.values()} == {(2, SIDE, SIDE)}

"""Runs tell whether a correction took parts of the specimen, whatever their blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stacks import STEPS as STACK_STEPS
from stacks import make_project
from striped import specimen, stripes

from pystack3d_dask.core.chain import Chain, Work
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.corrections.destriping import Destriping
from pystack3d_dask.engine.block import run_block
from pystack3d_dask.engine.glimpses import RUNS, SIDE, is_seen, kept_as, products_by_run, runs
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


def test_other_corrections_are_not_judged_by_neighbors(tmp_path):
    pipeline, done = corrected(
        tmp_path / "p", specimen(), {"bkg_removal": STACK_STEPS["bkg_removal"]}
    )
    assert done.remarks == ()
    assert not set(NAMES) & set(load_figures(pipeline.project, 1))


@pytest.mark.parametrize("slices", [1, 2])
def test_fewer_slices_than_a_run_are_not_judged(tmp_path, slices):
    _, done = corrected(tmp_path / "p", specimen()[:slices])
    assert done.remarks == ()


def test_each_channel_is_judged_by_itself(tmp_path):
    stack = {"one": stored(specimen()), "two": stored(np.full_like(specimen(), 90))}
    pipeline = Pipeline.from_toml(make_project(tmp_path / "p", STEPS, stack))
    (remark,) = pipeline.run().remarks
    assert remark.startswith("one: destriping: ")


def test_what_is_seen_does_not_depend_on_blocks():
    images = specimen((9, 140, 200)).astype(np.float32)
    spec = StackSpec(shape=images.shape, dtype=images.dtype, source_dtype=images.dtype)
    step = Destriping(filters=[Gabor(noise_level=20, sigma=(1, 30))], maxit=5)
    chain = Chain((step,), spec)
    work = Work(reads=0, end=1, stores=(1,), finishes=True)

    def seen(depth):
        found = {}
        for first in range(0, len(images), depth):
            block = spec.region.with_z(first, min(first + depth, len(images)))
            report = run_block(chain, work, block, lambda r: images[r.slices], lambda *_: None)
            found |= report.summaries.get(kept_as(step), {})
        return products_by_run(found, len(images))

    whole = seen(9)
    assert list(whole) == runs(9)
    for depth in (1, 2, 4):
        assert seen(depth) == whole


@pytest.mark.parametrize("slices", [0, 1, 2, 3, 4, 10, 500])
def test_runs_are_whole_and_all_over_the_stack(slices):
    found = runs(slices)
    assert len(found) == min(RUNS, max(0, slices - RUN + 1))
    assert sum(is_seen(z, slices) for z in range(slices)) <= RUNS * RUN
    if found:
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
    for seen in report.summaries[kept_as(step)].values():
        assert {each.shape for each in seen.values()} == {(2, SIDE, SIDE)}

"""Pictures and figures of stacks that are tiny, long, blank, or not finite."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from stacks import make_project

from pystack3d_dask import explore
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.preview.quality import Quality
from pystack3d_dask.preview.suggest import suggest

NOT_A_NUMBER = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)
CLIPPED = {"percentile_clipping": {"scope": "slice"}}
CUT = {"percentile_clipping.percentiles": [[0, 100], [1, 99]]}
FILTER = {"name": "Gabor", "noise_level": 20, "sigma": [1, 10]}
SUGGESTED = {
    "bkg_removal": {"orders": [0, 0]},
    "destriping": {"filters": [FILTER], "maxit": 2},
}
SHAPES = [(1, 1, 1), (1, 1, 9), (2, 9, 1), (2, 2, 3), (3, 5, 5), (5, 20, 30)]
ODD = {
    "one pixel": lambda stack: stack.flat.__setitem__(stack.size // 2, np.nan),
    "ends": lambda stack: stack.flat.__setitem__([0, -1], [np.inf, -np.inf]),
    "a slice": lambda stack: stack.__setitem__(len(stack) // 2, np.nan),
    "all": lambda stack: stack.fill(np.nan),
    "constant": lambda stack: stack.fill(7),
    "huge": lambda stack: np.multiply(stack, 3e35, out=stack),
    "faint": lambda stack: np.multiply(stack, 1e-40, out=stack),
    "spike": lambda stack: stack.flat.__setitem__(0, 3e38),
    "nothing": lambda stack: None,
}


def project(folder, steps, stack):
    return Pipeline.from_toml(make_project(folder, steps, stack))


def sane(path, least=100, most=4000):
    height, width = imread(path).shape[:2]
    return least <= min(height, width) and max(height, width) <= most


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(SHAPES), st.sampled_from(sorted(ODD)), st.integers(0, 9))
def test_whatever_the_stack_looks_have_finite_figures(shape, odd, seed):
    stack = np.random.default_rng(seed).normal(500, 30, shape).astype(np.float32)
    with np.errstate(under="ignore"):
        ODD[odd](stack)
    with TemporaryDirectory() as folder:
        pipeline = project(Path(folder), CLIPPED, stack)
        shown = pipeline.preview()
        for pairs in shown.figures().values():
            assert np.isfinite(list(pairs.values())).all()
        assert np.isfinite(shown.before).all()
        shown.plot().canvas.draw()
        found = pipeline.sweep(CUT)
        assert not NOT_A_NUMBER.search(str(found))
        assert (found.best is None) or len(stack) > 1
        found.plot().canvas.draw()
        explore.planes(stack).canvas.draw()
        explore.histogram(stack).canvas.draw()


@pytest.mark.parametrize("odd", ["a slice", "all", "constant", "huge", "spike"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (3, 20, 30)])
def test_suggestions_have_finite_numbers(tmp_path, shape, odd):
    stack = np.random.default_rng(0).normal(500, 30, shape).astype(np.float32)
    ODD[odd](stack)
    assert not NOT_A_NUMBER.search(suggest(project(tmp_path, SUGGESTED, stack).project))


@pytest.mark.parametrize("shape", [(2, 4, 9000), (2, 9000, 4)])
def test_pictures_of_long_slices_have_a_sane_size_and_show_all_rows(tmp_path, shape):
    stack = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    pipeline = project(tmp_path, CLIPPED, stack)
    shown = pipeline.preview().plot()
    assert shown.axes[0].get_title() == "before, stretched"
    assert min(shown.axes[0].images[0].get_array().shape) == 4
    assert sane(pipeline.preview().save(tmp_path / "preview.png"), 300)
    assert sane(pipeline.sweep(CUT).save(tmp_path / "sweep.png"), 300)
    for name in ("planes", "montage", "box"):
        getattr(explore, name)(stack).savefig(tmp_path / f"{name}.png")
        assert sane(tmp_path / f"{name}.png", 64), name
    explore.compare({"one": stack, "other": stack}).savefig(tmp_path / "compare.png")
    assert sane(tmp_path / "compare.png")


def test_bad_pixels_are_told_and_shown_as_a_run_takes_them(tmp_path):
    stack = np.random.default_rng(0).normal(500, 30, (3, 20, 30)).astype(np.float32)
    stack[1, 3, 3:5] = np.nan, np.inf
    stack[2] = np.nan
    pipeline = project(tmp_path, CLIPPED, stack)
    assert pipeline.preview(z=0).labels == ()
    assert pipeline.preview(z=1).labels == (
        "2 pixels have no finite value: shown as the nearest valid one",
    )
    assert pipeline.preview(z=2).labels == ("no pixel has a finite value: shown as 0",)


@given(st.integers(-60, 60))
def test_figures_do_not_depend_on_the_size_of_gray_levels(power):
    image = np.random.default_rng(0).normal(1, 0.2, (16, 20)).astype(np.float32)
    scaled = np.ldexp(image, power)
    one, other = Quality.of(image, image), Quality.of(scaled, scaled)
    for name, value in one.by_name().items():
        assert other.by_name()[name] == pytest.approx(value, rel=1e-3)

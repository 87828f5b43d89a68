"""The registry, and the contract that every registered step keeps."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import broken_steps as broken
import numpy as np
import pytest
import standin_cupy
from broken_steps import Smooth

from pystack3d_dask.core import registry as registry_module
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.stack_fit import known
from pystack3d_dask.errors import FitRequiredError
from pystack3d_dask.kernels.backend import has_gpu
from pystack3d_dask.kernels.destriping.noise_model import Filter
from pystack3d_dask.kernels.destriping.wavelets import WaveletDecomposition
from pystack3d_dask.kernels.registration.affine import identities
from pystack3d_dask.testing import check_step

GABOR = Filter(name="Gabor", noise_level=20.0, sigma=(1.0, 10.0))
MASKED = {"threshold_min": 80, "threshold_max": 2500.0}
PARAMETERS = {
    "cropping": [{}, {"area": (5, 30, 0, 20)}, {"area": (-4, 99999, 10, 99999)}],
    "cropping_final": [{"area": (5, 30, 0, 20)}],
    "bkg_removal": [
        {"orders": (1, 2, 1)},
        {"orders": (2, 2, 1), "skip_factors": (3, 4, 2), "cross_terms": False},
        {"orders": (1, 2), **MASKED},
        {"orders": (2, 1), "skip_factors": (6, 4), "skip_averaging": True, "weight_func": "Hampel"},
        {
            "orders": (1, 1, 1),
            "skip_factors": (6, 5, 2),
            "skip_averaging": True,
            "preserve_avg": True,
        },
        {"poly_basis": "1 + x*y + z**2", "weight_func": "None", **MASKED},
        {"method": "local", "size": (16, 24, 3)},
        {"method": "local", "size": (7, 5, 2), **MASKED},
        {"method": "local", "size": (0.2, 0.3, 0.1), "size_unit": "um"},
    ],
    "intensity_rescaling": [
        {},
        {"nbins": 64, "filter_size": 3},
        {"filter_size": -1, "range_bins": (20.0, 180.0)},
    ],
    "intensity_rescaling_area": [
        {},
        {
            "area": (10, 40, 5, 30),
            "threshold_min": 60,
            "threshold_max": 3000.0,
            "factors_range": (0.5, 2.0),
        },
    ],
    "registration_calculation": [
        {"transformation": "TRANSLATION", "area": (0, 53, 0, 37)},
        {
            "transformation": "RIGID_BODY",
            "nb_blocks": (2, 2),
            "area": (1, 50, 2, 36),
            "threshold": 100,
        },
    ],
    "registration_transformation": [
        {},
        {"subpixel": False, "mode": "edge", "constant_drift": (0.3, -0.2)},
        {"cropping": True, "box_size_averaging": 4},
        {"interpolation": "spline"},
    ],
    "destriping": [
        {"filters": (GABOR,), "maxit": 12},
        {"filters": (GABOR, Filter(name="Dirac", noise_level=3.0)), "cvg_threshold": 0.1},
        {"filters": (GABOR,), "maxit": 5, "backend": "pyvsnr"},
        {"wavelet_decomposition": WaveletDecomposition(wavelet="db2", sigma=3.0)},
    ],
    "resampling": [
        {"dz": 0.013},
        {"dz": 0.02},
        {"zpos_out": (0.01, 0.02, 0.13)},
        {"dz": 0.03, "z_source": (0, 0.1, 0.1, 0.2, 0.35, 0.4, 0.38, 0.5, 0.6)},
    ],
    "gamma": [{"gamma": 0.5}, {"gamma": 2.2, "in_range": (20.0, 180.0)}],
    "percentile_clipping": [{}, {"percentiles": (10.0, 70.0)}, {"scope": "slice"}],
    "equalization": [{}, {"scope": "slice"}],
    "clahe": [
        {},
        {"size": (20.0, 17.0, 4.0), "clip_limit": 0.05, "range_bins": (20.0, 180.0)},
        {"size": (0.2, 0.3, 0.1), "size_unit": "um", "nbins": 32, "clip_limit": 1.0},
        {"scope": "slice", "size": (13.0, 9.0)},
    ],
}
TESTS = Path(__file__).parents[1]
GRIDS = {1: ((1, 1), (37, 53)), 4: ((2, 2), (18, 26))}
CASES = [(name, parameters) for name, table in PARAMETERS.items() for parameters in table]


@pytest.fixture
def entry_points(monkeypatch):
    """Replace the announced steps; the registry is read anew."""

    def announce(*entries: tuple[str, str]) -> None:
        found = [EntryPoint(name, value, registry_module.ENTRY_POINTS) for name, value in entries]
        metadata = SimpleNamespace(entry_points=lambda group: found)
        monkeypatch.setattr(registry_module.importlib, "metadata", metadata)
        registry.cache_clear()

    yield announce
    monkeypatch.undo()
    registry.cache_clear()


def test_registered_steps_carry_the_name_they_are_announced_by():
    steps = registry()
    assert set(PARAMETERS) <= set(steps)
    assert {name: step.name for name, step in steps.items()} == {name: name for name in steps}


def test_every_correction_is_checked_here_or_by_its_own_test():
    modules = {name: step.__module__ for name, step in registry().items() if name not in PARAMETERS}
    for name, module in modules.items():
        if module.startswith("pystack3d_dask."):
            own = TESTS / "corrections" / f"test_{module.rpartition('.')[2]}.py"
            assert "check_step(" in own.read_text(), f"nothing checks {name}"


@pytest.mark.parametrize(
    "value",
    ["no_such_module:Step", "pystack3d_dask.core.step:NoSuchStep", f"{__name__}:EXPLODES.now"],
)
def test_a_broken_plug_in_warns_and_is_skipped(entry_points, value):
    own = {*registry()}
    entry_points(("bad", value), ("good", "pystack3d_dask.corrections.cropping:Cropping"))
    with pytest.warns(UserWarning, match=r"'bad' \(.*\) cannot be loaded and is skipped: "):
        steps = registry()
    assert {*steps} == {*own, "good"}


def test_a_plug_in_cannot_take_the_place_of_a_correction(entry_points):
    entry_points(("gamma", "pystack3d_dask.corrections.cropping:Cropping"))
    with pytest.warns(UserWarning, match=r"'gamma' \(.*another correction has this name"):
        assert registry()["gamma"].__name__ == "Gamma"


class _Explodes:
    @property
    def now(self):
        raise OSError


EXPLODES = _Explodes()


@pytest.fixture
def gpu(monkeypatch):
    """Stand in for a GPU where there is none."""
    if not has_gpu():
        standin_cupy.put_in_place(monkeypatch)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_registered_steps_keep_the_contract(name, parameters):
    step = registry()[name](**parameters)
    fits = {each: registration(1) for each in step.needs if each != name}
    check_step(step, fits=fits)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("parameters", [{}, {"cropping": True, "mode": "reflect"}])
def test_registration_by_blocks_keeps_the_contract(parameters):
    step = registry()["registration_transformation"](**parameters)
    check_step(step, fits={"registration_calculation": registration(4)})


def registration(blocks):
    """Return a fit of registration_calculation: jitter, and a turn."""
    pairwise = identities(9, blocks)
    pairwise[1:, :, :2, 2] = np.random.default_rng(0).normal(0, 1.2, (8, blocks, 2))
    pairwise[1:, :, 0, 1], pairwise[1:, :, 1, 0] = 0.01, -0.01
    grid, size = GRIDS[blocks]
    return {
        "pairwise": pairwise,
        "correlation": np.ones((9, blocks)),
        "foreground": np.zeros((9, blocks)),
        "origin": np.array([0, 0]),
        "grid": np.array(grid),
        "first": np.array([0, 0]),
        "size": np.array(size),
    }


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("intensity_rescaling", {"filter_size": 4}),
        ("gamma", {"in_range": (0.1, 0.9)}),
        ("percentile_clipping", {}),
        ("percentile_clipping", {"scope": "slice"}),
        ("equalization", {"nbins": 100}),
        ("equalization", {"scope": "slice"}),
        ("clahe", {}),
        ("clahe", {"scope": "slice"}),
    ],
)
def test_float_stacks_keep_the_contract(name, parameters):
    images = np.random.default_rng(1).normal(0.5, 0.1, (6, 20, 30)).astype(np.float32)
    check_step(registry()[name](**parameters), images=images)


def test_a_missing_fit_is_asked_for():
    with pytest.raises(FitRequiredError, match="compute it first"):
        known(None)


def test_a_step_that_keeps_every_rule_passes():
    check_step(Smooth())


@pytest.mark.parametrize(
    ("step", "rule"),
    [
        (broken.MutatesItsInput, "read-only input"),
        (broken.MutatesBehindOurBack, "read-only input"),
        (broken.NamesChartsAlike, "charts"),
        (broken.ShowsColumnsOfDifferentLengths, "charts"),
        (broken.ShowsChartsThatNobodyCalls, "traits"),
        (broken.DividesByTheLevel, "blank stack"),
        (broken.DependsOnTheCut, "same under any cut"),
        (broken.SummariesDependOnTheCut, "same under any cut"),
        (broken.FiguresDependOnTheCut, "same under any cut"),
        (broken.RemembersEarlierBlocks, "same under any cut"),
        (broken.MissesSlices, "estimate"),
        (broken.SamplesSlicesThatAreNotThere, "estimate"),
        (broken.LiesAboutItsShape, "output_spec"),
        (broken.LiesAboutItsType, "output_spec"),
        (broken.GrowsBeyondItsBound, "output_spec"),
        (broken.ReadsOutside, "source"),
        (broken.SummarizesOutside, "source"),
        (broken.AsksForTooLittle, "runs|same under any cut"),
        (broken.CannotBePickled, "identity"),
        (broken.CannotBeHashed, "identity"),
        (broken.IsEqualToItselfOnly, "identity"),
        (broken.KeepsObjectsInItsFit, "fit"),
        (broken.KeepsNumbersInItsFit, "fit"),
        (broken.AllocatesMoreThanItSays, "scratch_bytes"),
        (broken.AllocatesLessThanItSays, "scratch_bytes"),
        (broken.FiguresOfTheBlock, "figures"),
        (broken.MeasuresInSecret, "in_micrometers"),
        (broken.CannotStand, "runs"),
    ],
)
def test_a_step_that_breaks_a_rule_is_caught_by_name(step, rule):
    with pytest.raises(AssertionError, match=f"smooth breaks the rule '({rule})': "):
        check_step(step())


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (broken.DiffersOnAGpu, "of the pixels agree with the CPU"),
        (broken.LeavesTheGpu, "a cupy array went in, "),
        (broken.ChangesItsInputOnAGpu, "the input was changed"),
        (broken.LeavesFiguresOnAGpu, "figures are of numpy; 'mean' is "),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_a_step_that_fails_on_a_gpu_is_caught(step, told):
    with pytest.raises(AssertionError, match=f"smooth breaks the rule 'gpu': .*{told}"):
        check_step(step())


@pytest.mark.usefixtures("gpu")
def test_a_step_that_keeps_the_rules_on_a_gpu_passes():
    check_step(broken.OnAGpu())


def test_without_a_gpu_that_rule_is_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    check_step(broken.DiffersOnAGpu())


def test_parameters_that_do_not_suit_the_stack_are_named():
    cropping = registry()["cropping"](area=(60, 70, 0, 20))
    with pytest.raises(AssertionError, match=r"rule 'parameters': cropping\.area: .*nothing"):
        check_step(cropping)


def test_the_message_names_the_block_in_which_a_step_fails():
    with pytest.raises(AssertionError, match=r"apply was asked for \(0, 0, 0\) to \(5, 17, 20\)"):
        check_step(broken.TakesTilesForSlices())


def test_the_message_tells_the_stack_and_the_first_difference():
    spec = StackSpec(shape=(4, 20, 30), dtype=np.dtype("u1"), source_dtype=np.dtype("u1"))
    with pytest.raises(AssertionError) as caught:
        check_step(broken.DependsOnTheCut(), spec)
    message = str(caught.value)
    assert "uint8 of a uint8 stack, (4, 20, 30)" in message
    assert "block (" in message
    assert "differs in" in message

"""The registry, and the contract that every registered step keeps."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest

from pystack3d_dask import step as step_module
from pystack3d_dask.errors import FitRequiredError
from pystack3d_dask.spec import StackSpec
from pystack3d_dask.step import Step, known, registry
from pystack3d_dask.testing import check_step

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
}
CASES = [(name, parameters) for name, table in PARAMETERS.items() for parameters in table]


@pytest.fixture
def entry_points(monkeypatch):
    """Replace the announced steps; the registry is read anew."""

    def announce(*entries: tuple[str, str]) -> None:
        found = [EntryPoint(name, value, step_module.ENTRY_POINTS) for name, value in entries]
        metadata = SimpleNamespace(entry_points=lambda group: found)
        monkeypatch.setattr(step_module.importlib, "metadata", metadata)
        registry.cache_clear()

    yield announce
    monkeypatch.undo()
    registry.cache_clear()


def test_registered_steps_carry_the_name_they_are_announced_by():
    steps = registry()
    assert set(PARAMETERS) <= set(steps)
    assert {name: step.name for name, step in steps.items()} == {name: name for name in steps}


def test_every_registered_step_is_checked_here():
    ours = {name for name, step in registry().items() if step.__module__.startswith("pystack3d_")}
    assert ours == set(PARAMETERS)


@pytest.mark.parametrize(
    "value", ["no_such_module:Step", "pystack3d_dask.step:NoSuchStep", f"{__name__}:EXPLODES.now"]
)
def test_a_broken_plug_in_warns_and_is_skipped(entry_points, value):
    entry_points(("bad", value), ("good", "pystack3d_dask.steps.cropping:Cropping"))
    with pytest.warns(UserWarning, match=r"'bad' \(.*\) cannot be loaded and is skipped: "):
        steps = registry()
    assert [*steps] == ["good"]


class _Explodes:
    @property
    def now(self):
        raise OSError("boom")


EXPLODES = _Explodes()


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_registered_steps_keep_the_contract(name, parameters):
    check_step(registry()[name](**parameters))


def test_float_stacks_keep_the_contract():
    images = np.random.default_rng(1).normal(0.5, 0.1, (6, 20, 30)).astype(np.float32)
    check_step(registry()["intensity_rescaling"](filter_size=4), images=images)


def test_a_missing_fit_is_asked_for():
    with pytest.raises(FitRequiredError, match="compute it first"):
        known(None)


@dataclass(frozen=True, kw_only=True)
class Smooth(Step):
    """The mean over three slices, minus the mean grey level of the stack: keeps every rule."""

    name = "smooth"

    @property
    def fit_scope(self):
        return "stack"

    def output_spec(self, spec, fitted=None):
        return spec.computed()

    def source(self, out, spec, fitted=None):
        return out.grown((1, 0, 0), (1, 0, 0)).clipped(spec.shape)

    def scratch_bytes(self, region, spec):
        return region.size * 8

    def summarise(self, block, source, out, spec, partial=None):
        return {z: {"mean": image.mean(dtype=float)} for z, image in zip(out.z, block, strict=True)}

    def finalize(self, summaries, spec, partial=None):
        return {"level": np.mean([s["mean"] for s in summaries.values()], keepdims=True)}

    def apply(self, block, source, out, spec, fitted=None):
        values = np.empty(out.shape, np.float32)
        for k, z in enumerate(out.z):
            first = max(z - 1, 0) - source.start[0]
            count = min(z + 2, spec.shape[0]) - max(z - 1, 0)
            total = block[first : first + count].sum(axis=0, dtype=np.float64)
            np.subtract(total / count, known(fitted)["level"], out=values[k], casting="unsafe")
        return values, {"where": np.array(out.z)}


class MutatesItsInput(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        block.reshape(-1)[0] = 0
        return super().apply(block, source, out, spec, fitted)


class MutatesBehindOurBack(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        base = block if block.base is None else block.base
        base[0, 0, 0] = 1 - base[0, 0, 0]
        return super().apply(block, source, out, spec, fitted)


class DependsOnTheCut(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        values, figures = super().apply(block, source, out, spec, fitted)
        return values - block.min(), figures


class SummariesDependOnTheCut(Smooth):
    def summarise(self, block, source, out, spec, partial=None):
        return {z: {"mean": block.mean()} for z in out.z}


class FiguresDependOnTheCut(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        values, _ = super().apply(block, source, out, spec, fitted)
        return values, {"where": np.arange(len(values))}


class RemembersEarlierBlocks(Smooth):
    seen = 0

    def summarise(self, block, source, out, spec, partial=None):
        type(self).seen += 1
        return {z: {"mean": np.float64(self.seen)} for z in out.z}


class LiesAboutItsShape(Smooth):
    def output_spec(self, spec, fitted=None):
        return replace(spec.computed(), shape=(spec.shape[0], spec.shape[1], spec.shape[2] - 1))


class LiesAboutItsType(Smooth):
    def output_spec(self, spec, fitted=None):
        return replace(spec, dtype=spec.source_dtype)


class GrowsBeyondItsBound(Smooth):
    def output_spec(self, spec, fitted=None):
        if fitted is not None:
            return spec.computed()
        return replace(spec.computed(), shape=(spec.shape[0], 5, 5), is_bound=True)


class ReadsOutside(Smooth):
    def source(self, out, spec, fitted=None):
        return out.grown((1, 0, 0), (1, 0, 0))


class SummarisesOutside(Smooth):
    def summary_source(self, out, spec):
        return out.grown((0, 0, 0), (0, 0, 1))


class AsksForTooLittle(Smooth):
    def source(self, out, spec, fitted=None):
        return out


@dataclass(frozen=True, kw_only=True)
class CannotBePickled(Smooth):
    function: object = field(default=lambda: None)


@dataclass(frozen=True, kw_only=True)
class CannotBeHashed(Smooth):
    orders: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class IsEqualToItselfOnly(Smooth):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class KeepsObjectsInItsFit(Smooth):
    def finalize(self, summaries, spec, partial=None):
        return {**super().finalize(summaries, spec), "notes": np.array([None])}


class KeepsNumbersInItsFit(Smooth):
    def finalize(self, summaries, spec, partial=None):
        return {"level": float(super().finalize(summaries, spec)["level"][0])}


class AllocatesMoreThanItSays(Smooth):
    def scratch_bytes(self, region, spec):
        return 0


class AllocatesLessThanItSays(Smooth):
    def scratch_bytes(self, region, spec):
        return region.size * 30


class FiguresOfTheBlock(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        values, _ = super().apply(block, source, out, spec, fitted)
        return values, {"total": values.sum()}


class CannotStand(Smooth):
    def apply(self, block, source, out, spec, fitted=None):
        raise KeyError("lost")


class DiffersOnAGpu(Smooth):
    devices = ("cpu", "gpu")

    def apply(self, block, source, out, spec, fitted=None):
        values, figures = super().apply(np.asarray(block), source, out, spec, fitted)
        is_fake = isinstance(block, FakeGpuArray)
        return (values.view(FakeGpuArray) + 3 if is_fake else values), figures


class LeavesTheGpu(DiffersOnAGpu):
    def apply(self, block, source, out, spec, fitted=None):
        return Smooth.apply(self, np.asarray(block), source, out, spec, fitted)


class FakeGpuArray(np.ndarray):
    """Stands for an array on a device."""


@pytest.fixture
def fake_gpu(monkeypatch):
    cupy = SimpleNamespace(
        is_available=lambda: True,
        ndarray=FakeGpuArray,
        asarray=lambda values: values.view(FakeGpuArray),
        asnumpy=np.asarray,
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_a_step_that_keeps_every_rule_passes():
    check_step(Smooth())


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (MutatesItsInput, "read-only input"),
        (MutatesBehindOurBack, "read-only input"),
        (DependsOnTheCut, "same under any cut"),
        (SummariesDependOnTheCut, "same under any cut"),
        (FiguresDependOnTheCut, "same under any cut"),
        (RemembersEarlierBlocks, "same under any cut"),
        (LiesAboutItsShape, "output_spec"),
        (LiesAboutItsType, "output_spec"),
        (GrowsBeyondItsBound, "output_spec"),
        (ReadsOutside, "source"),
        (SummarisesOutside, "source"),
        (AsksForTooLittle, "runs|same under any cut"),
        (CannotBePickled, "identity"),
        (CannotBeHashed, "identity"),
        (IsEqualToItselfOnly, "identity"),
        (KeepsObjectsInItsFit, "fit"),
        (KeepsNumbersInItsFit, "fit"),
        (AllocatesMoreThanItSays, "scratch_bytes"),
        (AllocatesLessThanItSays, "scratch_bytes"),
        (FiguresOfTheBlock, "figures"),
        (CannotStand, "runs"),
    ],
)
def test_a_step_that_breaks_a_rule_is_caught_by_name(broken, rule):
    with pytest.raises(AssertionError, match=f"smooth breaks the rule '({rule})': "):
        check_step(broken())


@pytest.mark.parametrize("broken", [DiffersOnAGpu, LeavesTheGpu])
@pytest.mark.usefixtures("fake_gpu")
def test_a_step_that_fails_on_a_gpu_is_caught(broken):
    with pytest.raises(AssertionError, match="smooth breaks the rule 'gpu': "):
        check_step(broken())


def test_without_a_gpu_that_rule_is_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    check_step(DiffersOnAGpu())


def test_parameters_that_do_not_suit_the_stack_are_named():
    cropping = registry()["cropping"](area=(60, 70, 0, 20))
    with pytest.raises(AssertionError, match=r"rule 'parameters': cropping\.area: .*nothing"):
        check_step(cropping)


def test_the_message_tells_the_stack_and_the_first_difference():
    spec = StackSpec(shape=(4, 20, 30), dtype=np.dtype("u1"), source_dtype=np.dtype("u1"))
    with pytest.raises(AssertionError) as caught:
        check_step(DependsOnTheCut(), spec)
    message = str(caught.value)
    assert "uint8 of a uint8 stack, (4, 20, 30)" in message
    assert "block (" in message
    assert "differs in" in message

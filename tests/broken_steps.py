"""A step that keeps every rule, and steps that break one each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pystack3d_dask.core.charts import Table
from pystack3d_dask.core.stack_fit import StackFit, known
from pystack3d_dask.core.traits import ReportCharts
from pystack3d_dask.kernels.backend import to_gpu, to_host


@dataclass(frozen=True, kw_only=True)
class Smooth(StackFit):
    """The mean over three slices, minus the mean gray level of the stack: keeps every rule."""

    name = "smooth"

    def source(self, out, spec, fitted=None):
        return out.grown((1, 0, 0), (1, 0, 0)).clipped(spec.shape)

    def scratch_bytes(self, region, spec):
        return region.size * 16

    def summarize(self, block, partial=None):
        return {
            z: {"mean": image.mean(dtype=float)}
            for z, image in zip(block.out.z, block.values, strict=True)
        }

    def finalize(self, summaries, spec, partial=None):
        return {"level": np.mean([s["mean"] for s in summaries.values()], keepdims=True)}

    def apply(self, block, fitted=None):
        values = np.empty(block.out.shape, np.float32)
        for k, z in enumerate(block.out.z):
            first = max(z - 1, 0) - block.source.start[0]
            count = min(z + 2, block.spec.shape[0]) - max(z - 1, 0)
            total = block.values[first : first + count].sum(axis=0, dtype=np.float64)
            np.subtract(total / count, known(fitted)["level"], out=values[k], casting="unsafe")
        return values, {"where": np.array(block.out.z)}


class MutatesItsInput(Smooth):
    def apply(self, block, fitted=None):
        block.values.reshape(-1)[0] = 0
        return super().apply(block, fitted)


class MutatesBehindOurBack(Smooth):
    def apply(self, block, fitted=None):
        base = block.values if block.values.base is None else block.values.base
        base[0, 0, 0] = 7
        return super().apply(block, fitted)


class NamesChartsAlike(ReportCharts, Smooth):
    def charts(self, figures, spec, fitted=None):
        columns = {"where": figures.get("where", ())}
        yield Table(name="smooth", title="Levels", text="Read.", columns=columns)
        yield Table(name="smooth", title="Levels", text="Read.", columns=columns)


class ShowsColumnsOfDifferentLengths(ReportCharts, Smooth):
    def charts(self, figures, spec, fitted=None):
        columns = {"where": figures.get("where", ()), "level": [1.0]}
        yield Table(name="smooth", title="Levels", text="Read.", columns=columns)


class ShowsChartsThatNobodyCalls(Smooth):
    def charts(self, figures, spec, fitted=None):
        yield Table(name="smooth", title="Levels", text="Read.", columns={})


class DividesByTheLevel(Smooth):
    def apply(self, block, fitted=None):
        values, figures = super().apply(block, fitted)
        with np.errstate(all="ignore"):
            return values / known(fitted)["level"].astype(np.float32), figures


class TakesTilesForSlices(Smooth):
    def apply(self, block, fitted=None):
        values, figures = super().apply(block, fitted)
        return values * np.ones(block.spec.shape[1:], values.dtype), figures


class DependsOnTheCut(Smooth):
    def apply(self, block, fitted=None):
        values, figures = super().apply(block, fitted)
        return values - block.values.min(), figures


class SummariesDependOnTheCut(Smooth):
    def summarize(self, block, partial=None):
        return {z: {"mean": block.values.mean()} for z in block.out.z}


class FiguresDependOnTheCut(Smooth):
    def apply(self, block, fitted=None):
        values, _ = super().apply(block, fitted)
        return values, {"where": np.arange(len(values))}


class RemembersEarlierBlocks(Smooth):
    seen = 0

    def summarize(self, block, partial=None):
        type(self).seen += 1
        return {z: {"mean": np.float64(self.seen)} for z in block.out.z}


class LiesAboutItsShape(Smooth):
    def output_spec(self, spec, fitted=None):
        return replace(spec.computed(), shape=(spec.shape[0], 5, 5))

    def apply(self, block, fitted=None):
        return np.zeros((len(block.out.z), *block.spec.shape[1:]), np.float32), {}


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


class SummarizesOutside(Smooth):
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
    orders: dict[str, int] = field(default_factory=dict)


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


class MeasuresInSecret(Smooth):
    def apply(self, block, fitted=None):
        values, figures = super().apply(block, fitted)
        return values * np.float32(block.spec.spacing()[2]), figures


class MissesSlices(Smooth):
    def finalize(self, summaries, spec, partial=None):
        means = [summaries[z]["mean"] for z in range(spec.shape[0])]
        return {"level": np.mean(means, keepdims=True)}


class SamplesSlicesThatAreNotThere(Smooth):
    def estimate_slices(self, shown, spec):
        return {spec.shape[0]}


class FiguresOfTheBlock(Smooth):
    def apply(self, block, fitted=None):
        values, _ = super().apply(block, fitted)
        return values, {"total": values.sum()}


class CannotStand(Smooth):
    def apply(self, block, fitted=None):
        raise KeyError


class OnAGpu(Smooth):
    devices = ("cpu", "gpu")

    def apply(self, block, fitted=None):
        values, figures = super().apply(replace(block, values=to_host(block.values)), fitted)
        if isinstance(block.values, np.ndarray):
            return values, figures
        return self.there(block.values, to_gpu(values), figures)

    def there(self, block, values, figures):
        return values, figures


class DiffersOnAGpu(OnAGpu):
    def there(self, block, values, figures):
        return values + 3, figures


class LeavesTheGpu(OnAGpu):
    def there(self, block, values, figures):
        return to_host(values), figures


class ChangesItsInputOnAGpu(OnAGpu):
    def there(self, block, values, figures):
        block[:] = 0
        return values, figures


class LeavesFiguresOnAGpu(OnAGpu):
    def there(self, block, values, figures):
        return values, figures | {"mean": values.mean(axis=(1, 2))}

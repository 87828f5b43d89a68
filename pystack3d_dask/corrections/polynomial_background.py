"""A background that is a polynomial in x, y (and z), fitted robustly to a grid of samples.

It is subtracted without its constant term, so that the gray level stays, as PyStack3D does
(Quéméré and David, JOSS 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from pystack3d_dask.core.charts import Chart, Lines, Maps, Table
from pystack3d_dask.core.spec import EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, known
from pystack3d_dask.core.typing import Array, Arrays, Triple
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.background.grid_cells import cell_sums
from pystack3d_dask.kernels.background.polynomial import (
    Basis,
    coordinates,
    evaluate_grid,
    plane_coefficients,
)
from pystack3d_dask.kernels.background.robust_fit import (
    Plane,
    Planes,
    PolynomialFit,
    WeightFunction,
    fit_polynomial,
)
from pystack3d_dask.kernels.jit import compiled

SURFACE = 64  # points along an axis, at most, of a background that is drawn


@dataclass(frozen=True, kw_only=True)
class PolynomialBackground:
    """The method "polynomial" of the background removal, on one stack.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    basis : Basis
        Terms of the polynomial.
    skips : tuple of int
        Every how many slices, rows and columns a sample is taken.
    averaging : bool
        Samples are means over cells of that size.
    low, high : float
        Thresholds, inclusive.
    weights : {"HuberT", "Hampel", "None"}
        Weight function.
    per_slice : bool
        Each slice has a fit of its own.
    preserve_avg : bool
        Keep the mean over the samples, instead of leaving out the constant term.
    corrects_all : bool
        Pixels beyond the thresholds are corrected, too.
    """

    spec: StackSpec
    basis: Basis
    skips: Triple
    averaging: bool
    low: float
    high: float
    weights: WeightFunction
    per_slice: bool
    preserve_avg: bool
    corrects_all: bool

    def source(self, out: Region) -> Region:
        """Return the region that ``out`` needs: itself."""
        return out

    def scratch_bytes(self, region: Region) -> int:
        """Return what the fit of a slice allocates beside the output: some arrays of samples."""
        if not self.per_slice:
            return 0
        _, sy, sx = self.skips
        samples = -(-region.shape[1] // sy) * -(-region.shape[2] // sx)
        arrays = {"None": 6.2, "HuberT": 8.2, "Hampel": 11.2}[self.weights]
        output = region.size * self.spec.arithmetic.itemsize
        return max(0, round(8 * arrays * samples) - output)

    def summary_source(self, out: Region) -> Region:
        """Return the slices of ``out`` that are sampled."""
        if self.averaging:
            return out
        skip = self.skips[0]
        start, stop = -(-out.start[0] // skip) * skip, (out.stop[0] - 1) // skip * skip + 1
        return out.with_z(start, stop) if start < stop else EMPTY

    def summarize(self, image: Array, z: int) -> Arrays | None:
        """Return the samples of a slice: sums of their pixels, and how many they have."""
        if not self.averaging and z % self.skips[0]:
            return None
        return self._sample(image)

    def finalize(self, summaries: Summaries) -> Arrays:
        """Return the fit to the whole stack."""
        positions = self._positions(0)

        def planes() -> Iterator[Plane]:
            for number, group in self._groups(summaries):
                yield Plane(positions[number], _mean_of(group))

        fit = self._fit(planes)
        offset = self._constant(fit)
        if self.preserve_avg:
            offset = self._sampled_mean(planes(), fit)
        return {
            "coefficients": fit.coefficients,
            "powers": np.array(self.basis.terms),
            "offset": np.array(offset),
            "scale": np.array(fit.scale),
            "iterations": np.array(fit.iterations),
            "converged": np.array(fit.converged),
            "samples": np.array(fit.count),
        }

    def apply(
        self, block: Array, source: Region, out: Region, fitted: Arrays | None
    ) -> tuple[Array, Arrays]:
        """Return the corrected block; with a fit per slice, also what was found."""
        if not self.per_slice:
            fit = known(fitted)
            count = len(block)
            offsets = [float(fit["offset"])] * count
            return self._subtract(block, out, [fit["coefficients"]] * count, offsets), {}
        fits = [self._fit_slice(image) for image in block]
        figures = {
            "coefficients": np.array([fit.coefficients for fit in fits]),
            "iterations": np.array([fit.iterations for fit in fits]),
            "converged": np.array([fit.converged for fit in fits]),
            "samples": np.array([fit.count for fit in fits]),
        }
        offsets = [self._constant(fit) for fit in fits]
        wanted = block[out.relative_to(source).slices]
        return self._subtract(wanted, out, [fit.coefficients for fit in fits], offsets), figures

    def reference_outputs(
        self, figures: Arrays, fitted: Arrays | None
    ) -> dict[str, Array | Arrays]:
        """Return coefficients and powers as PyStack3D saves them.

        With ``preserve_avg`` the constant term is the one that is subtracted.
        """
        powers = np.array(self.basis.terms)
        if self.per_slice:
            coefficients = figures["coefficients"]
            return {"outputs/coefs.npz": {"coefs": coefficients, "powers": powers[:, :2]}}
        fit = known(fitted)
        subtracted = fit["coefficients"].copy()
        if self.preserve_avg:
            subtracted[self.basis.terms.index((0, 0, 0))] -= float(fit["offset"])
        repeated = np.tile(subtracted, (self.spec.shape[0], 1))
        return {
            "outputs/coefs.npz": {"coefs": repeated, "powers": powers},
            "outputs/coefs_3d.txt": subtracted,
        }

    def charts(self, figures: Arrays, fitted: Arrays | None) -> Iterator[Chart]:
        """Yield the coefficients, and the background of some slices."""
        names = self.basis.names()
        if self.per_slice and "coefficients" in figures:
            found = figures["coefficients"]
            yield Lines(
                name="coefficients",
                title="Coefficients of the polynomials",
                text="Each slice has a polynomial of its own, x and y running from 0 to 1 over the "
                "image: values are gray levels. A jump is a slice whose background differs.",
                panels={name: {"": values} for name, values in zip(names, found.T, strict=True)},
            )
            yield self._surfaces(lambda z: found[z])
        elif not self.per_slice and fitted is not None:
            yield Table(
                name="coefficients",
                title="Coefficients of the polynomial",
                text="One polynomial over the stack, x, y and z running from 0 to 1: each value is "
                "what its term makes, in gray levels, from one end to the other. Fitted to "
                f"{int(fitted['samples'])} samples in {int(fitted['iterations'])} iterations; they "
                f"scatter about it by {float(fitted['scale']):.3g}.",
                columns={"term": names, "coefficient": fitted["coefficients"]},
            )
            yield self._surfaces(lambda _: fitted["coefficients"])

    def _surfaces(self, coefficients: Callable[[int], Array]) -> Maps:
        """Return the background in the first, middle and last slice, on a coarse grid."""
        slices, rows, columns = self.spec.shape
        shown = sorted({0, slices // 2, slices - 1})
        y, x = (np.linspace(0, 1, min(count, SURFACE)) for count in (rows, columns))
        maps = {}
        for z in shown:
            plane = plane_coefficients(self.basis, coefficients(z), z / max(slices - 1, 1))
            constant = plane_coefficients(self.basis, coefficients(z), 0.0)[0, 0]
            plane[0, 0] -= constant
            maps[f"slice {z}"] = evaluate_grid(plane, y, x)
        return Maps(
            name="background",
            title="Background that is subtracted",
            text="The polynomial without its constant term, in three slices. It should look like "
            "shadow or charging; where it follows structures of the specimen, lower the powers.",
            maps=maps,
            x="x, pixels",
            y="y, pixels",
            value="gray levels",
            extent=(0, columns, 0, rows),
            is_image=True,
        )

    def _sample(self, image: Array) -> Arrays:
        _, sy, sx = self.skips
        if not self.averaging:
            image, sy, sx = np.ascontiguousarray(image[::sy, ::sx]), 1, 1
        sums, counts = cell_sums(image, sy, sx, self.low, self.high)
        return {"sums": sums, "counts": counts.astype(np.uint32)}

    def _groups(self, summaries: Summaries) -> Iterator[tuple[int, list[Arrays]]]:
        """Yield the planes of samples: their numbers, and the summaries of their slices."""
        for number, slices in groupby(summaries, key=lambda z: z // self.skips[0]):
            yield number, [summaries[z] for z in slices]

    def _positions(self, axis: int) -> Array:
        """Return where samples lie, 0 to 1: on the first voxel of a cell, or in its middle."""
        count, skip = self.spec.shape[axis], self.skips[axis]
        every = coordinates(count)
        if not self.averaging:
            return np.asarray(every[::skip])
        starts = np.arange(0, count, skip)
        return np.asarray(np.add.reduceat(every, starts) / np.diff([*starts, count]))

    def _fit(self, planes: Planes) -> PolynomialFit:
        y, x = self._positions(1), self._positions(2)
        return fit_polynomial(planes, self.basis, y, x, self.weights)

    def _fit_slice(self, image: Array) -> PolynomialFit:
        values = _mean_of([self._sample(image)])
        valid = values[~np.isnan(values)]
        if valid.size and np.all(valid == valid[0]):
            values = np.full_like(values, np.nan)  # nothing to fit: no background
        return self._fit(lambda: [Plane(0.0, values)])

    def _constant(self, fit: PolynomialFit) -> float:
        return float(fit.coefficients[self.basis.terms.index((0, 0, 0))])

    def _sampled_mean(self, planes: Iterator[Plane], fit: PolynomialFit) -> float:
        y, x = self._positions(1), self._positions(2)
        total = 0.0
        for plane in planes:
            surface = plane_coefficients(self.basis, fit.coefficients, plane.z)
            total += float(np.sum(evaluate_grid(surface, y, x), where=~np.isnan(plane.values)))
        return total / max(fit.count, 1)

    def _subtract(
        self, block: Array, out: Region, coefficients: Sequence[Array], offsets: Sequence[float]
    ) -> Array:
        z, y, x = (
            coordinates(count)[start:stop]
            for count, start, stop in zip(self.spec.shape, out.start, out.stop, strict=True)
        )
        xp = namespace(block)
        subtract = subtract_plane if xp is np else subtract_plane_on_arrays
        low, high = (-np.inf, np.inf) if self.corrects_all else (self.low, self.high)
        values: Array = xp.empty(block.shape, self.spec.arithmetic)
        for k, image in enumerate(block):
            plane = np.ascontiguousarray(plane_coefficients(self.basis, coefficients[k], z[k]))
            plane[0, 0] -= offsets[k]
            subtract(image, plane, y, x, low, high, values[k])
        return values


def _mean_of(summaries: Sequence[Arrays]) -> Array:
    sums = np.sum([summary["sums"] for summary in summaries], axis=0)
    counts = np.sum([summary["counts"] for summary in summaries], axis=0, dtype=np.int64)
    return np.asarray(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))


@compiled(fastmath={"contract"})
def subtract_plane(
    image: Array, plane: Array, y: Array, x: Array, low: float, high: float, out: Array
) -> None:
    """Subtract a polynomial from the pixels between two thresholds.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Gray levels.
    plane : ndarray of float64, shape (powers of y, powers of x)
        Coefficients.
    y, x : ndarray of float64
        Coordinates of rows and columns.
    low, high : float
        Thresholds, inclusive.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    powers_y, powers_x = plane.shape
    row = np.empty(x.size)
    for r in range(y.size):
        for i in range(powers_x - 1, -1, -1):
            coefficient = 0.0
            for j in range(powers_y - 1, -1, -1):
                coefficient = coefficient * y[r] + plane[j, i]
            if i == powers_x - 1:
                for c in range(x.size):
                    row[c] = coefficient
            else:
                for c in range(x.size):
                    row[c] = row[c] * x[c] + coefficient
        for c in range(x.size):
            value = np.float64(image[r, c])
            out[r, c] = value - row[c] if low <= value <= high else value


def subtract_plane_on_arrays(
    image: Any, plane: Array, y: Array, x: Array, low: float, high: float, out: Any
) -> None:
    """Do what `subtract_plane` does, with an image and a result of numpy or cupy."""
    xp = namespace(image)
    across, rows = xp.asarray(x), xp.asarray(np.polynomial.polynomial.polyval(y, plane))
    background = xp.zeros(image.shape, np.float64)
    for coefficients in rows[::-1]:
        background = background * across + coefficients[:, None]
    values = image.astype(np.float64)
    out[:] = xp.where((values >= low) & (values <= high), values - background, values)

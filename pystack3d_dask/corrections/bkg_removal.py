"""Background removal: the declaration. Its three methods have a module each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import StackFit, Summaries, every, known
from pystack3d_dask.core.step import FitScope
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.local_background import LocalBackground, Window
from pystack3d_dask.corrections.local_classes import FEWEST_PLACES, LocalClasses
from pystack3d_dask.corrections.plausible import doubt_neighborhood, doubt_thresholds
from pystack3d_dask.corrections.polynomial_background import PolynomialBackground
from pystack3d_dask.corrections.shared_background import Model, SharedBackground
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.background.polynomial import Basis, BasisError
from pystack3d_dask.kernels.background.robust_fit import WeightFunction
from pystack3d_dask.kernels.intensity.gray_range import fill_levels, gray_levels
from pystack3d_dask.kernels.intensity.masks import check_thresholds, limits
from pystack3d_dask.kernels.padding import keep_levels

LEVELS = "level_"  # what summaries hold of gray levels has names that begin with it
WIDEST = 1e9  # voxels of a window: more than any stack has


@dataclass(frozen=True, kw_only=True)
class BackgroundRemoval(ReportCharts, ReferenceLayout, StackFit):
    """Subtract a slowly varying background.

    Parameters
    ----------
    method : {"polynomial", "local", "classes"}
        A polynomial of low order, the mean over a window around each pixel, or a smooth field
        that dark and bright parts share: found without further parameters, and removed only if it
        predicts places that were left out.
    model : {"auto", "subtract", "divide"}
        With "classes", as ``method`` or ``reference``: whether the background is subtracted, or
        slices are divided by it.
    orders : tuple of int, optional
        Largest powers of x and y (one fit per slice), or of x, y and z (one fit for the
        stack).
    cross_terms : bool
        With ``orders``: all products of the powers, or pure powers only.
    poly_basis : str, optional
        The terms themselves, such as ``1 + x + x*y + z**2``; used in place of ``orders``.
    dim : {2, 3}, optional
        With ``poly_basis``: a fit per slice, or one for the stack; 3 if the basis has z.
    skip_factors : tuple of int
        Every how many pixels in x and y, and slices in z, a sample is taken.
    skip_averaging : bool
        Samples are the means of the pixels of a cell instead of its first pixel.
    threshold_min, threshold_max : float, optional
        Pixels outside take no part in the fit. Inclusive; of an acquisition of integers, values
        are judged clipped and truncated to its type.
    outside : {"keep", "correct"}
        Whether pixels outside the thresholds stay unchanged, as with PyStack3D, or are corrected
        like the others: a background lies on all materials. Then fill, an extreme gray level that
        only fills slices up, stays.
    weight_func : {"HuberT", "Hampel", "None"}
        How outliers are weighted down.
    preserve_avg : bool
        For the stack: keep the mean over the samples, instead of leaving out the constant
        term of the polynomial.
    max_samples : int, optional
        Skip factors grow until no more samples than this are taken. Not in precision
        "source".
    size : tuple of float, optional
        For the local method: width, height and depth of the window.
    size_unit : {"pixels", "um"}
        Unit of ``size``.
    reference : {"mean", "classes"}
        With "local": what a background deviates from. From the mean of the stack: then contrasts
        of the specimen that are wider than the window go, too. Or from the gray level of the
        material that a pixel shows. Materials are found as with the method "classes", whose field
        is removed first; thresholds, ``outside`` and ``preserve_avg`` have no effect. Then a window
        loses the shift that its dark and bright parts share, if all over the stack these are
        shifted alike, also inside a material. Windows of one material are left alone.
    """

    name: ClassVar[str] = "bkg_removal"
    purpose: ClassVar[str] = (
        "shadows and charging: a smooth field that dark and bright parts share, a robust "
        "polynomial over the stack (3D) or per slice (2D), or the mean over a window around each "
        "pixel"
    )
    usual_place: ClassVar[int] = 30
    template: ClassVar[str] = """\
method = "classes"              # a smooth field that dark and bright parts share, if there is one
# model = "auto"                # "subtract" it, or "divide" by it
# method = "polynomial"         # instead, a polynomial through all pixels:
# orders = {orders:<20} # largest powers of x, y, z; [1, 2]: a fit for each slice
# cross_terms = true            # their products too
# skip_factors = {skips:<14} # every how many pixels in x, y and slices in z is sampled
# poly_basis = "1 + x + x*y + z**2"   # the terms, in place of orders
# threshold_min = 2             # pixels outside the thresholds take no part in the fit
# threshold_max = 250
# outside = "correct"           # but are corrected, too; or "keep": they stay
# weight_func = "HuberT"        # or "Hampel", "None"
# preserve_avg = true           # keep the mean, not the constant of the polynomial
# method = "local"              # instead, the mean over a window around each pixel:
# size = [200, 200, 20]         # its width, height and depth in pixels
# reference = "classes"         # remove only shifts that its dark and bright parts share
"""
    version: ClassVar[int] = 4
    nanoseconds: ClassVar[float] = 2.0

    method: Literal["polynomial", "local", "classes"] = "polynomial"
    model: Model = "auto"
    orders: tuple[int, ...] | None = None
    cross_terms: bool = True
    poly_basis: str | None = None
    dim: Literal[2, 3] | None = None
    skip_factors: tuple[int, ...] = (10, 10, 10)
    skip_averaging: bool = False
    threshold_min: float | None = None
    threshold_max: float | None = None
    outside: Literal["keep", "correct"] = "keep"
    weight_func: WeightFunction = "HuberT"
    preserve_avg: bool = False
    max_samples: int | None = 10_000_000
    size: tuple[float, float, float] | None = None
    size_unit: Literal["pixels", "um"] = "pixels"
    reference: Literal["mean", "classes"] = "mean"

    @property
    def is_per_slice(self) -> bool:
        """Whether each slice has a fit of its own."""
        if self.method != "polynomial":
            return False
        if self.poly_basis is None:
            return len(self.orders or ()) == 2
        return (self.dim or (3 if "z" in self.poly_basis else 2)) == 2

    @property
    def devices(self) -> tuple[str, ...]:
        is_one_fit = self.method == "polynomial" and not self.is_per_slice
        return ("cpu", "gpu") if is_one_fit else ("cpu",)

    @property
    def in_micrometers(self) -> bool:
        return self.method == "local" and self.size_unit == "um"

    @property
    def fit_scope(self) -> FitScope:
        return "slice" if self.is_per_slice else "stack"

    @property
    def whole(self) -> tuple[str, ...]:
        return ("y", "x") if self.is_per_slice else ()

    @cached_property
    def basis(self) -> Basis:
        """The terms of the polynomial.

        Raises
        ------
        BasisError
            When ``poly_basis`` cannot be read.
        """
        if self.poly_basis is not None:
            return Basis.parse(self.poly_basis)
        return Basis.from_orders(self.orders or (), self.cross_terms)

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        yield from check_thresholds(self.name, self.threshold_min, self.threshold_max)
        yield from doubt_thresholds(self.name, self.threshold_min, self.threshold_max, spec)
        if self.method == "local":
            yield from self._check_local(spec)
        elif self.method == "polynomial":
            yield from self._check_polynomial(spec)
        yield from self._check_ignored()

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        method = self._on(spec)
        if isinstance(method, LocalClasses):
            return method.source(out, fitted)
        return method.source(out)

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        copy = region.size * (spec.arithmetic.itemsize + 1) if self._corrects_all else 0
        return self._on(spec).scratch_bytes(region) + copy

    def fit_rounds(self, spec: StackSpec) -> int:
        method = self._on(spec)
        return method.fit_rounds if isinstance(method, LocalClasses) else 1

    def summary_source(self, out: Region, spec: StackSpec) -> Region:
        return self._on(spec).summary_source(out)

    def summary_scratch_bytes(self, out: Region, spec: StackSpec) -> int:
        method = self._on(spec)
        return method.summary_scratch_bytes(out) if isinstance(method, LocalClasses) else 0

    def estimate_slices(self, shown: Collection[int], spec: StackSpec) -> set[int]:
        if self._finds_classes:
            return set(self._shared(spec).sampled)
        if self.method == "local":
            return super().estimate_slices(shown, spec)
        return set(every(range(0, spec.shape[0], self.skips(spec)[0])))

    def summarize(self, block: Block, partial: Arrays | None = None) -> dict[int, Arrays]:
        method = self._on(block.spec)
        if isinstance(method, LocalClasses):
            return method.summaries(block, partial)
        found: dict[int, Arrays] = {}
        seen = self._seen(block)
        for z, image in block.images():
            summary = method.summarize(seen[z], z)
            if summary is not None:
                found[z] = summary | (self._levels(image, block.spec) if self._corrects_all else {})
        return found

    def finalize(
        self, summaries: Summaries, spec: StackSpec, partial: Arrays | None = None
    ) -> Arrays:
        method = self._on(spec)
        if isinstance(method, LocalClasses):
            return method.finalize(summaries, partial)
        fit = method.finalize(summaries)
        if self._corrects_all:
            fit["fill"] = self._fill(summaries.values(), spec)
        return fit

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        method = self._on(block.spec)
        given = block.image_or_nan if self.is_per_slice else block.values
        if self.method == "local":
            given = block.without_padding
        values, figures = method.apply(given, block.source, block.out, fitted)
        if self._corrects_all:
            given = block.values[block.out.relative_to(block.source).slices]
            for k, image in enumerate(given):
                values[k] = keep_levels(values[k], image, self._fill_of(k, block, fitted))
        return values, figures

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        method = self._on(spec)
        if isinstance(method, PolynomialBackground):
            return method.reference_outputs(figures, fitted)
        return {}

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        method = self._on(spec)
        if isinstance(method, LocalClasses):
            method = method.shared
        if not isinstance(method, LocalBackground):
            yield from method.charts(figures, fitted)

    def remarks(self, fitted: Arrays, spec: StackSpec) -> Iterator[str]:
        method = self._on(spec)
        if isinstance(method, LocalClasses | SharedBackground):
            yield from (f"{self.name}: {text}" for text in method.remarks(fitted))

    def _seen(self, block: Block) -> dict[int, Array]:
        """Return what fits see of each slice."""
        if self.method == "local":
            return dict(block.image_pixels())
        return dict(zip(block.source.z, block.image_or_nan, strict=True))

    @property
    def _corrects_all(self) -> bool:
        """True if pixels outside the thresholds, but for fill, are corrected here."""
        return self.outside == "correct" and not self._finds_classes

    @property
    def _finds_classes(self) -> bool:
        """True if materials are told from each other, in place of thresholds."""
        by_window = self.method == "local" and self.reference == "classes"
        return by_window or self.method == "classes"

    def _levels(self, image: Array, spec: StackSpec) -> Arrays:
        """Return the gray levels of a slice, under names of their own."""
        found = gray_levels(image, spec.source_dtype, is_integer=spec.is_integer)
        return {LEVELS + key: values for key, values in found.items()}

    def _fill(self, found: Iterable[Arrays], spec: StackSpec) -> Array:
        """Return the gray levels that only fill up the slices that summaries are of."""
        levels = [
            {key.removeprefix(LEVELS): each[key] for key in each if key.startswith(LEVELS)}
            for each in found
        ]
        return np.array(fill_levels(levels, spec.source_dtype), np.float64)

    def _fill_of(self, index: int, block: Block, fitted: Arrays | None) -> Array:
        """Return the gray levels that are fill, in the stack or in a slice with its own fit."""
        if not self.is_per_slice:
            return known(fitted)["fill"]
        whole = block.values[index]  # what is cut off later decides nothing
        return self._fill([self._levels(whole, block.spec)], block.spec)

    def _shared(self, spec: StackSpec) -> SharedBackground:
        return SharedBackground(spec=spec, model=self.model)

    def _on(
        self, spec: StackSpec
    ) -> PolynomialBackground | LocalBackground | LocalClasses | SharedBackground:
        """Return the chosen method on a stack."""
        if self.method == "classes":
            return self._shared(spec)
        low, high = limits(self.threshold_min, self.threshold_max, spec.source_dtype)
        if self.method == "local" and self.reference == "classes":
            return LocalClasses(spec=spec, size=self._window(spec).size, model=self.model)
        if self.method == "local":
            return LocalBackground(
                spec=spec,
                window=self._window(spec),
                low=low,
                high=high,
                corrects_all=self._corrects_all,
            )
        return PolynomialBackground(
            spec=spec,
            basis=self.basis,
            skips=self.skips(spec),
            averaging=self.skip_averaging,
            low=low,
            high=high,
            weights=self.weight_func,
            per_slice=self.is_per_slice,
            preserve_avg=self.preserve_avg,
            corrects_all=self._corrects_all,
        )

    def skips(self, spec: StackSpec) -> tuple[int, int, int]:
        """Return the skip factors along (z, y, x) that keep to ``max_samples``."""
        sx, sy, sz = (*self.skip_factors, 1)[:3]
        limit = None if spec.precision == "source" else self.max_samples
        skips = [1 if self.is_per_slice else sz, sy, sx]
        extents = [1 if self.is_per_slice else spec.shape[0], *spec.shape[1:]]
        while limit is not None and _samples(extents, skips) > max(limit, 1):
            axis = max(range(3), key=lambda a: -(-extents[a] // skips[a]))
            skips[axis] += 1
        return skips[0], skips[1], skips[2]

    def _check_polynomial(self, spec: StackSpec) -> Iterator[Problem]:
        wrong = [*self._check_basis(), *self._check_sampling()]
        yield from wrong
        if all(problem.severity == "warning" for problem in wrong):
            yield from self._check_samples(spec)

    def _check_ignored(self) -> Iterator[Problem]:
        """Yield a warning for what the method does without."""
        if self._finds_classes:
            key = "reference" if self.method == "local" else "method"
            by_mean = "reference = 'mean'" if self.method == "local" else "method = 'polynomial'"
            takers = {
                **dict.fromkeys(("orders", "poly_basis"), "method = 'polynomial'"),
                **dict.fromkeys(("threshold_min", "threshold_max"), by_mean),
            }
            for name, other in takers.items():
                if getattr(self, name) is not None:
                    yield self._ignored(
                        name,
                        f"{key} = 'classes' finds the order of the field and the materials by "
                        f"itself; {other} takes it",
                    )
        elif self.model != "auto":
            yield self._ignored("model", "only 'classes', as method or reference, takes it")
        if self.reference != "mean" and self.method != "local":
            yield self._ignored("reference", "only method = 'local' takes it")

    def _ignored(self, name: str, reason: str) -> Problem:
        return Problem(f"{self.name}.{name}", f"ignored: {reason}", "warning")

    def _check_basis(self) -> Iterator[Problem]:
        orders = list(self.orders or ())
        if self.poly_basis is not None:
            yield from self._check_poly_basis()
        elif self.orders is None:
            yield Problem(
                f"{self.name}.orders",
                "missing: [ox, oy] for a fit per slice, [ox, oy, oz] for one fit of the stack, "
                "or poly_basis",
            )
        elif len(orders) not in (2, 3) or min(orders) < 0:
            yield Problem(
                f"{self.name}.orders",
                f"[ox, oy] or [ox, oy, oz], each 0 or more, expected, found {orders}",
            )
        else:
            yield from self._check_orders(orders)
        if self.preserve_avg and self.is_per_slice:
            yield Problem(
                f"{self.name}.preserve_avg",
                "needs one fit of the whole stack: orders = [ox, oy, oz] or dim = 3",
            )

    def _check_orders(self, orders: Sequence[int]) -> Iterator[Problem]:
        try:
            Basis.from_orders(orders, self.cross_terms)
        except BasisError as error:
            yield Problem(f"{self.name}.orders", str(error))
        if self.dim is not None and self.dim != len(orders):
            yield Problem(
                f"{self.name}.dim",
                f"dim = {self.dim} is ignored: orders = {orders} has {len(orders)} entries, "
                "which decides",
                "warning",
            )

    def _check_poly_basis(self) -> Iterator[Problem]:
        if self.orders is not None:
            yield Problem(
                f"{self.name}.orders", "ignored: poly_basis is given, and decides", "warning"
            )
        try:
            basis = self.basis
        except BasisError as error:
            yield Problem(f"{self.name}.poly_basis", str(error))
            return
        if self.is_per_slice and basis.orders[2]:
            yield Problem(
                f"{self.name}.poly_basis",
                f"{self.poly_basis!r} has terms in z, but dim = 2 fits each slice alone; "
                "use dim = 3 or drop them",
            )

    def _check_sampling(self) -> Iterator[Problem]:
        names = "[sx, sy]" if self.is_per_slice else "[sx, sy, sz]"
        if len(self.skip_factors) < names.count("s") or min(self.skip_factors) < 1:
            yield Problem(
                f"{self.name}.skip_factors",
                f"{names}, each 1 or more, expected, found {list(self.skip_factors)}",
            )
        if self.max_samples is not None and self.max_samples < 1:
            yield Problem(
                f"{self.name}.max_samples", f"1 or more expected, found {self.max_samples}"
            )

    def _check_samples(self, spec: StackSpec) -> Iterator[Problem]:
        """Yield a warning where an axis has too few samples for its powers."""
        for axis, order in zip("zyx", reversed(self.basis.orders), strict=True):
            index = "zyx".index(axis)
            count = -(-spec.shape[index] // self.skips(spec)[index])
            if count <= order:
                yield Problem(
                    f"{self.name}.skip_factors",
                    f"{count} samples along {axis} cannot tell powers up to {axis}**{order} "
                    "apart, some coefficients will be 0; take more samples or lower powers",
                    "warning",
                )

    def _check_local(self, spec: StackSpec) -> Iterator[Problem]:
        path = f"{self.name}.size"
        if self.size is None:
            yield Problem(path, "missing: method = 'local' needs the window, size = [x, y, z]")
        elif min(self.size) <= 0:
            yield Problem(path, f"[x, y, z], all above 0, expected, found {list(self.size)}")
        elif self.size_unit == "um" and (spec.pixel_size is None or spec.z is None):
            yield Problem(
                f"{self.name}.size_unit",
                "'um' needs the size of the pixels and the z of the slices, and these images do "
                "not tell them; voxel_size = [x, y, z] does, or give the size in pixels",
            )
        else:
            yield from self._check_places(path, spec)
            yield from doubt_neighborhood(path, self.size_unit, self._window(spec).size, spec)

    def _check_places(self, path: str, spec: StackSpec) -> Iterator[Problem]:
        """Yield an error where a window is too small to tell materials from each other."""
        method = self._on(spec)
        if isinstance(method, LocalClasses):
            least = FEWEST_PLACES * method.place
            if min(method.size[1:]) < least:
                _, height, width = method.size
                yield Problem(
                    path,
                    f"reference = 'classes' needs a window of at least {least} x {least} pixels to "
                    f"see dark and bright parts in it, found {width:g} x {height:g}; take a larger "
                    "one, or reference = 'mean'",
                )

    def _window(self, spec: StackSpec) -> Window:
        x, y, z = self.size or (1.0, 1.0, 1.0)
        dz, dy, dx = spec.spacing() if self.size_unit == "um" else (1.0, 1.0, 1.0)
        depth, height, width = np.clip([z / dz, y / dy, x / dx], 1.0, WIDEST).tolist()
        return Window((depth, height, width), spec.shape)


def _samples(extents: Sequence[int], skips: Sequence[int]) -> int:
    return prod(-(-n // s) for n, s in zip(extents, skips, strict=True))

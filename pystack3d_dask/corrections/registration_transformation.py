"""Registration, second half: slices are moved onto each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines, Table
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import known
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.plausible import doubt_drift, doubt_window
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.errors import Problem, RunError
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.intensity.gray_range import fill_of_slice
from pystack3d_dask.kernels.intensity.running_mean import check_window
from pystack3d_dask.kernels.padding import keep_levels
from pystack3d_dask.kernels.registration.affine import (
    cumulated,
    motion_panels,
    moved,
    with_drift,
    without_small_shifts,
    without_trend,
)
from pystack3d_dask.kernels.registration.inscribed_rectangle import largest_rectangle
from pystack3d_dask.kernels.registration.interpolation import Mode, Scheme
from pystack3d_dask.kernels.registration.stackreg import transform
from pystack3d_dask.kernels.registration.warp import (
    clear_outside_piecewise,
    narrow,
    warp_affine,
    warp_piecewise,
)

CALCULATION = RegistrationCalculation.name
OVERSHOOT: tuple[Scheme, ...] = ("catmull-rom", "cubic", "lanczos3")  # beside steep edges
FARTHEST = 1e4  # pixels that a slice may drift against the one before


@dataclass(frozen=True, kw_only=True)
class RegistrationTransformation(ReportCharts, ReferenceLayout, Step):
    """Move every slice onto the first one, as `RegistrationCalculation` found it.

    Parameters
    ----------
    subpixel : bool
        Keep shifts from slice to slice that are below one pixel; else these are left out,
        along each axis by itself.
    constant_drift : tuple of float, optional
        ``[dx, dy]``, pixels per slice to the right and down: a real motion to leave in.
    box_size_averaging : int, optional
        Slices in the running mean of the transformations that is left in, so that only
        jitter is removed.
    mode : {"constant", "edge", "symmetric", "reflect", "wrap"}
        What appears where a slice does not reach: 0, its outermost pixels, its mirror image
        with or without these repeated, or the slice again.
    cropping : bool
        Keep the largest rectangle that every slice reaches.
    interpolation : {"bilinear", "linear", "catmull-rom", "cubic", "lanczos3", "whole", "spline"}
        Between pixels. "linear" and "bilinear" are the same; it blurs, and blurs most the
        slices that are moved by half a pixel; "catmull-rom", "cubic" and "lanczos3" keep edges as
        sharp as they are, and more of the noise; "whole" moves by whole pixels and changes no
        value; see `kernels.registration.interpolation`. "spline" is StackReg's own, cubic, for one
        block and mode "constant". With the three sharp ones, fill such as a black border keeps its
        gray level.
    nb_blocks : tuple of int, optional
        For parameter files of PyStack3D, which repeat it: that of registration_calculation.

    Notes
    -----
    Transformations are combined as ``C[k] = T[k] . C[k - 1]``, ``C[0] = I``, then drift and
    running mean are taken out. With several blocks the center of each moves by its block's
    transformation, as do points one block beyond the outer ones (or at the border of the
    image, if that is further); in the triangles between them the transformation is affine.
    """

    name: ClassVar[str] = "registration_transformation"
    purpose: ClassVar[str] = (
        "moves the slices accordingly; leaves a known drift or the slow part of the motion "
        "in; keeps what all slices show"
    )
    usual_place: ClassVar[int] = 60
    template: ClassVar[str] = """\
# constant_drift = [0.0, 0.0]   # real motion in pixels per slice, to the right and down
# box_size_averaging = 10       # slices over which motion is real and stays
# subpixel = false              # leave out movements of less than a pixel
# mode = "constant"             # beyond the image; "edge", "symmetric", "reflect", "wrap"
cropping = true                 # keep what every slice covers
interpolation = "cubic"         # or "linear" (blurs), "catmull-rom", "lanczos3", "whole" pixels
"""
    only_moves: ClassVar[bool] = True
    nanoseconds: ClassVar[float] = 8.0

    subpixel: bool = True
    constant_drift: tuple[float, float] | None = None
    box_size_averaging: int | None = None
    mode: Mode = "constant"
    cropping: bool = False
    interpolation: Scheme | Literal["bilinear", "spline"] = "bilinear"
    nb_blocks: tuple[int, int] | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu",) if self.interpolation == "spline" else ("cpu", "gpu")

    @property
    def needs(self) -> tuple[str, ...]:
        return (CALCULATION,)

    @property
    def whole(self) -> tuple[str, ...]:
        return ("y", "x")

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        if max(map(abs, self.constant_drift or ()), default=0.0) > FARTHEST:
            yield Problem(
                f"{self.name}.constant_drift",
                f"[dx, dy], {FARTHEST:g} pixels at most, expected, found "
                f"{list(self.constant_drift or ())}",
            )
        else:
            yield from doubt_drift(f"{self.name}.constant_drift", self.constant_drift, spec)
        path, size = f"{self.name}.box_size_averaging", self.box_size_averaging or 1
        yield from check_window(path, size)
        yield from doubt_window(path, size, spec)
        if self.interpolation == "spline" and self.mode != "constant":
            yield Problem(
                f"{self.name}.interpolation",
                f"'spline' knows no mode but 'constant', found mode = {self.mode!r}",
            )

    def check_order(self, earlier: Sequence[Step]) -> Iterator[Problem]:
        yield from super().check_order(earlier)
        names = [step.name for step in earlier]
        if CALCULATION not in names:
            return
        calculation = earlier[names.index(CALCULATION)]
        for step in earlier[names.index(CALCULATION) :]:
            if not step.keeps_slices:
                yield Problem(
                    self.name,
                    f"{step.name} makes other slices than those that {CALCULATION} compared: "
                    "put it before or after both, in process_steps",
                )
        blocks = calculation.parameters()["nb_blocks"]
        if self.nb_blocks is not None and self.nb_blocks != blocks:
            yield Problem(
                f"{self.name}.nb_blocks",
                f"{list(blocks)} expected, as in {CALCULATION}, found {list(self.nb_blocks)}",
            )
        if self.interpolation == "spline" and blocks != (1, 1):
            yield Problem(
                f"{self.name}.interpolation",
                f"'spline' is for one block, {CALCULATION}.nb_blocks = {list(blocks)}",
            )

    def prepare(self, fits: Fits, spec: StackSpec) -> Arrays:
        fitted = fits[CALCULATION]
        pairwise = fitted["pairwise"]
        if not self.subpixel:
            pairwise = without_small_shifts(pairwise)
        matrices = cumulated(pairwise)
        if self.constant_drift is not None:
            matrices = with_drift(matrices, self.constant_drift)
        if self.box_size_averaging is not None and self.box_size_averaging > 1:
            matrices = without_trend(matrices, self.box_size_averaging)
        shift = np.array(spec.origin) - fitted["origin"]
        found = {"matrices": moved(matrices, *shift)}
        if matrices.shape[1] > 1:
            found |= _control_points(fitted, found["matrices"], shift, spec)
        if self.cropping:
            found["rectangle"] = np.array(largest_rectangle(_reached(found, spec)))
            if not found["rectangle"].any():
                message = (
                    f"{self.name}.cropping: after registration there is no pixel that every "
                    f"slice reaches: look at the transformations of {CALCULATION}"
                )
                raise RunError(message)
        return found

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        if not self.cropping:
            return spec.computed()
        if fitted is None:
            return replace(spec.computed(), is_bound=True)
        return spec.computed().cropped(self._kept(spec, fitted))

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        return spec.region.with_z(out.start[0], out.stop[0])

    def scratch_bytes(self, region: Region, spec: StackSpec) -> int:
        pixels = spec.shape[1] * spec.shape[2]
        if self.interpolation == "cubic":
            return 4 * spec.arithmetic.itemsize * pixels  # two of these where there is fill
        if self._scheme in OVERSHOOT:
            return 3 * spec.arithmetic.itemsize * pixels
        return 8 * pixels if self.interpolation == "spline" else 0

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        fit = known(fitted)
        kept = block.out.shifted((0, *self._kept(block.spec, fit).start[1:]))
        values = namespace(block.values).empty(block.out.shape, block.spec.arithmetic)
        for z, image, warped in zip(block.out.z, block.values, values, strict=True):
            self._warp(image, z, fit, kept, warped, self._scheme)
            if self._scheme in OVERSHOOT:
                self._restore_fill(image, z, fit, kept, warped, block.spec)
        return values, {"matrix": fit["matrices"][list(block.out.z)]}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        """Return the matrices applied, and the rectangle that is kept."""
        fit = known(fitted)
        files: dict[str, Array | Arrays] = {"outputs/tmats_cumul.npy": fit["matrices"]}
        if self.cropping:
            files["outputs/inds_crop.txt"] = fit["rectangle"]
            files["outputs/img_crop.npy"] = _reached(fit, spec).astype(np.float64)
        return files

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        if fitted is None:
            return
        matrices = fitted["matrices"]
        rows, columns = spec.shape[1:]
        center = np.tile([(columns - 1) / 2, (rows - 1) / 2], (matrices.shape[1], 1))
        yield Lines(
            name="cumulative",
            title="How each slice is moved",
            text="Where the middle of the image lies in each slice, against the first one: shifts "
            "to the right and down. Slices are moved back by this. A steady slope is drift, which "
            "may be real: see constant_drift and box_size_averaging.",
            panels=motion_panels(matrices, center),
        )
        if "rectangle" in fitted:
            top, bottom, left, right = (int(edge) for edge in fitted["rectangle"])
            yield Table(
                name="rectangle",
                title="What all slices show",
                text="Pixels from the top left that are kept, the last one not among them.",
                columns={
                    "axis": ["x", "y"],
                    "from": [left, top],
                    "to": [right, bottom],
                    "of": [columns, rows],
                },
            )

    def _restore_fill(
        self, image: Array, z: int, fit: Arrays, kept: Region, warped: Array, spec: StackSpec
    ) -> None:
        """Give pixels their gray level back that lie nearest to one of fill."""
        fill = fill_of_slice(image, spec.source_dtype)
        if len(fill):
            nearest = namespace(warped).empty_like(warped)
            self._warp(image, z, fit, kept, nearest, "whole")
            within = warped.clip(image.min(), image.max())  # fill stays the darkest, or brightest
            warped[:] = keep_levels(within, nearest, fill)

    def _warp(
        self, image: Array, z: int, fit: Arrays, kept: Region, warped: Array, scheme: Scheme
    ) -> None:
        corner = kept.start[1:]
        if self.interpolation == "spline":
            _, rows, columns = kept.slices
            warped[:] = transform(image, fit["matrices"][z, 0])[rows, columns]
        elif "points" in fit:
            places = fit["xs"], fit["ys"], fit["points"][z]
            warp_piecewise(image, *places, self.mode, warped, corner, scheme)
        else:
            matrix = fit["matrices"][z, 0]
            warp_affine(image, matrix, self.mode, warped, corner, scheme)

    @property
    def _scheme(self) -> Scheme:
        if self.interpolation == "bilinear" or self.interpolation == "spline":
            return "linear"
        return self.interpolation

    def _kept(self, spec: StackSpec, fitted: Arrays) -> Region:
        """Return the part of the image that is left."""
        if not self.cropping:
            return spec.region
        top, bottom, left, right = (int(edge) for edge in fitted["rectangle"])
        return Region((0, top, left), (spec.shape[0], bottom, right))


def _control_points(fitted: Arrays, matrices: Array, shift: Array, spec: StackSpec) -> Arrays:
    """Return the grid of control points, and where they lie in each slice."""
    grid, first, size = fitted["grid"], fitted["first"], fitted["size"]
    axes = []
    for axis in range(2):
        extent = spec.shape[1 + axis]
        centers = (
            first[axis] - shift[axis] + (size[axis] - 1) / 2 + size[axis] * np.arange(grid[axis])
        )
        before, after = min(centers[0] - size[axis], 0), max(centers[-1] + size[axis], extent - 1)
        axes.append(np.array([before, *centers, after], np.float64))
    ys, xs = axes
    rows, columns = (np.clip(np.arange(count + 2) - 1, 0, count - 1) for count in grid)
    block = rows[:, None] * grid[1] + columns
    places = np.stack([*np.meshgrid(xs, ys), np.ones(block.shape)], axis=-1)
    points = np.einsum("zyxij,yxj->zyxi", matrices[:, block], places)[..., :2]
    return {"xs": xs, "ys": ys, "points": np.ascontiguousarray(points)}


def _reached(found: Arrays, spec: StackSpec) -> Array:
    """Return the mask of the pixels that every slice reaches."""
    _, rows, columns = spec.shape
    first, last = np.zeros(rows, np.int64), np.full(rows, columns - 1)
    if "points" not in found:
        for matrix in found["matrices"][:, 0]:
            narrow(first, last, matrix, columns)
    index = np.arange(columns)
    valid = (index >= first[:, None]) & (index <= last[:, None])
    for points in found.get("points", ()):
        clear_outside_piecewise(valid, found["xs"], found["ys"], points)
    return valid

"""Resampling along z: slices at other positions, interpolated between those around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines, padded
from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.stack_fit import known
from pystack3d_dask.core.step import Fits, Step
from pystack3d_dask.core.traits import ReferenceLayout, ReportCharts
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.plausible import doubt_distance
from pystack3d_dask.corrections.positions import (
    POLICY,
    SLICE_NB,
    PolicyError,
    ascending,
    check_policy,
    distances,
    neighbors,
    output_name,
    parse_position,
    regular,
)
from pystack3d_dask.errors import Problem
from pystack3d_dask.kernels.backend import namespace
from pystack3d_dask.kernels.jit import compiled
from pystack3d_dask.kernels.registration.interpolation import Scheme
from pystack3d_dask.kernels.slice_weights import are_thinned, slice_weights

OTHER_SOURCES = (  # of positions, where names tell none
    "write a policy that the names follow, with {slice_nb} and {z_coord}, or say where else the "
    'positions are from: z_source = "metadata" (the files tell), z_source = "coordinates" with '
    "voxel_size = [x, y, z] at the top of the file, or z_source = [...], one for each slice; "
    "zpos_out or dz then say where the slices made shall lie"
)
HARDLY = 0.01  # the most that bad slices may count without making a slice bad
MOST = 1000  # slices made of one: more are a mistake of units, and too many to be named


@dataclass(frozen=True, kw_only=True)
class Resampling(ReportCharts, ReferenceLayout, Step):
    """Make slices at regular, or given, positions along z.

    Parameters
    ----------
    dz : float, optional
        Distance of the slices in micrometers: positions are ``min(z) + k dz`` up to and
        including ``max(z)``.
    zpos_out : tuple of float, optional
        The positions themselves, ascending; used in place of ``dz``.
    z_source : {"names", "metadata", "coordinates"} or tuple of float
        Where the positions of the slices are from: their names, by ``policy``, the
        metadata inside the files, the coordinate z of the stack (by a given size of voxels,
        else as the files tell), or a list of micrometers, one for each slice.
    policy : str
        How names are read and, for the slices that are made, written: ``{slice_nb}`` is the
        number of the slice, ``{z_coord}`` its position in micrometers.
    interpolation : {"linear", "catmull-rom", "cubic", "lanczos3", "whole"}
        Between slices, see `kernels.slice_weights`. "linear" blurs slices that lie halfway; the
        next three keep them about as sharp and noisy as others ("lanczos3" is for slices that are
        nearly even); "whole" takes the nearest slice.
    antialias : bool, default False
        Where slices are made that lie further apart than those there are, by half their distance or
        more, count all of these, the nearer the more, in place of interpolating between some of
        them and passing the others over.

    Notes
    -----
    A slice that does not lie above all slices before it is left out, and told of. An output
    position that is one of a slice copies that slice.
    """

    name: ClassVar[str] = "resampling"
    purpose: ClassVar[str] = (
        "uneven slices: equal distances along z, from the positions in names or metadata, or a list"
    )
    usual_place: ClassVar[int] = 80
    template: ClassVar[str] = """\
policy = {policy}
{dz}
# zpos_out = [0.0, 0.01, 0.02]  # positions in µm, in place of dz
z_source = {z_source:<20} # what tells z: "names", "metadata", "coordinates", or a list of µm
interpolation = "catmull-rom"   # or "linear" (blurs), "cubic", "lanczos3", "whole" slices
# antialias = true              # slices that lie closer than dz all count: less noise, no moire
"""
    nanoseconds: ClassVar[float] = 1.5
    keeps_slices: ClassVar[bool] = False
    only_moves: ClassVar[bool] = True

    dz: float | None = None
    zpos_out: tuple[float, ...] | None = None
    z_source: Literal["names", "metadata", "coordinates"] | tuple[float, ...] = "names"
    policy: str = POLICY
    interpolation: Scheme = "linear"
    antialias: bool = False

    @property
    def in_micrometers(self) -> bool:
        # without names, those are the positions that the stack has
        return self.z_source in ("names", "coordinates")

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu", "gpu")

    def check(self, spec: StackSpec) -> Iterator[Problem]:
        wrong = [*self._check_policy()] or [*self._check_source(spec), *self._check_outputs()]
        yield from wrong
        positions = None if wrong else self._positions(spec)
        if positions is None:
            return
        kept = ascending(positions)
        low, high = positions[kept[0]], positions[kept[-1]]
        left_out = np.delete(np.arange(len(positions)), kept)
        if len(left_out) and len(kept) == 1:
            yield Problem(
                f"{self.name}.z_source",
                f"positions that go up expected, those of the slices go down from {low:g} to "
                f"{positions[-1]:g}: rename the slices, or give the positions as a list",
            )
            return
        if len(left_out):
            yield Problem(
                f"{self.name}.z_source",
                f"{spec.listed(left_out)}: not above the slices before, left out",
                "warning",
            )
        outside = [z for z in self.zpos_out or () if not low <= z <= high]
        if outside:
            yield Problem(
                f"{self.name}.zpos_out",
                f"positions within those of the slices, {low:g} to {high:g}, expected, "
                f"found {outside[0]:g}",
            )
            return
        made = float(len(self.zpos_out or ())) or (high - low) / (self.dz or np.inf)
        if made > MOST * len(positions):
            culprit, what = ("zpos_out", "positions") if self.zpos_out else ("dz", "a distance")
            yield Problem(
                f"{self.name}.{culprit}",
                f"{what} in micrometers, {MOST} slices made of each at most, expected; this makes "
                f"{made:.3g} of {len(positions)}",
            )
            return
        if self.dz is not None and not self.zpos_out:
            own = [positions[k] for k in kept]
            yield from doubt_distance(f"{self.name}.dz", self.dz, own)
        out = self.output_spec(spec)
        before, after = np.array(positions)[kept], np.array(out.z)
        if self.antialias and not are_thinned(before, distances(after)).any():
            yield Problem(
                f"{self.name}.antialias",
                "has no effect: the slices that are made lie about as close as those there are",
                "warning",
            )
        names = out.names or ()
        if len(set(names)) < len(names):
            yield Problem(
                f"{self.name}.policy",
                f"{self.policy!r} gives several of the slices that are made the same name; "
                f"put {SLICE_NB} into it",
            )

    def prepare(self, fits: Fits, spec: StackSpec) -> Arrays:
        positions = self._positions(spec)
        if positions is None:
            return {}
        kept = np.array(ascending(positions))
        own = np.array(positions)[kept]
        z = np.array(self.zpos_out) if self.zpos_out else regular(own, self.dz or 0.0)
        below, distance, gap = neighbors(own, z)
        spacing = distances(z) if self.antialias else None
        first, weights = slice_weights(own, below, distance, gap, self.interpolation, spacing)
        counts = weights != 0
        nothing = [np.argmax(each, axis=1) for each in (counts, counts[:, ::-1])]  # at either end
        places = np.minimum(first[:, None] + np.arange(weights.shape[1]), len(own) - 1)
        return {
            "z": z,
            # ascending, so that every slice belongs to one block: none starts behind a later one
            "first": np.minimum.accumulate(kept[first + nothing[0]][::-1])[::-1],
            "last": kept[first + weights.shape[1] - 1 - nothing[1]],
            "slices": kept[places],
            "weights": weights,
            "distance": distance,
            "gap": gap,
        }

    def output_spec(self, spec: StackSpec, fitted: Arrays | None = None) -> StackSpec:
        found = fitted or self.prepare({}, spec)
        if not found:
            return spec.computed()
        z = tuple(float(each) for each in found["z"])
        of_bad = np.isin(found["slices"], spec.bad) * np.abs(found["weights"])
        made_of_bad = of_bad.sum(axis=1) > HARDLY
        return replace(
            spec.computed(),
            shape=(len(z), *spec.shape[1:]),
            z=z,
            z_metadata=None,
            names=tuple(output_name(self.policy, k, each) for k, each in enumerate(z)),
            bad=tuple(np.flatnonzero(made_of_bad).tolist()),
        )

    def source(self, out: Region, spec: StackSpec, fitted: Arrays | None = None) -> Region:
        found = fitted or self.prepare({}, spec)
        some = slice(out.start[0], out.stop[0])
        return out.with_z(int(found["first"][some].min()), int(found["last"][some].max()) + 1)

    def apply(self, block: Block, fitted: Arrays | None = None) -> tuple[Array, Arrays]:
        found = {k: array[list(block.out.z)] for k, array in known(fitted).items()}
        values = namespace(block.values).empty(block.out.shape, block.spec.arithmetic)
        start = block.source.start[0]
        for k, (slices, weights) in enumerate(zip(found["slices"], found["weights"], strict=True)):
            counting = np.flatnonzero(weights)
            images = [block.values[int(z) - start] for z in slices[counting]]
            if self.interpolation == "linear" and not self.antialias:
                step = float(found["distance"][k]), float(found["gap"][k])
                blend(images[0], images[-1], *step, values[k])
            else:
                add_up(images, weights[counting].tolist(), values[k])
        return values, {"z": found["z"]}

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        """Return the positions of the slices before and after."""
        z = known(fitted)["z"]
        return {
            "outputs/zpos_in.npy": np.array(self._positions(spec) or ()),
            "outputs/zpos_out.npy": z,
        }

    def charts(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> Iterator[Chart]:
        positions = self._positions(spec)
        if fitted is None or positions is None:
            return
        z = {"before": np.array(positions), "after": fitted["z"]}
        count = max(map(len, z.values()))
        steps = {name: np.diff(each, prepend=np.nan) for name, each in z.items()}
        yield Lines(
            name="positions",
            title="Positions along z",
            text="Where slices lie, and how far each lies from the one before. A peak in the "
            "distances before is a gap, where slices after are interpolated over a wide space.",
            panels={
                "z, µm": {name: padded(each, count) for name, each in z.items()},
                "distance, µm": {name: padded(each, count) for name, each in steps.items()},
            },
        )

    def _positions(self, spec: StackSpec) -> tuple[float, ...] | None:
        """Return where the slices lie, in micrometers; None if nothing is known of them.

        Raises
        ------
        PolicyError
            When names do not tell.
        """
        if self.z_source == "metadata":
            return spec.z_metadata
        if isinstance(self.z_source, tuple):
            return self.z_source if len(self.z_source) == spec.shape[0] else None
        if self.z_source == "coordinates" or spec.names is None:
            return spec.z if spec.z and len(spec.z) == spec.shape[0] else None
        return tuple(parse_position(name, self.policy) for name in spec.names)

    def _check_policy(self) -> Iterator[Problem]:
        try:
            check_policy(self.policy)
        except PolicyError as error:
            yield Problem(f"{self.name}.policy", str(error))

    def _check_source(self, spec: StackSpec) -> Iterator[Problem]:
        path, slices = f"{self.name}.z_source", spec.shape[0]
        if spec.z == ():
            return  # nothing is known of the slices: what is wrong with them is told elsewhere
        if isinstance(self.z_source, tuple) and len(self.z_source) != slices:
            yield Problem(
                path,
                f"a position for each of the {slices} slices expected, found {len(self.z_source)}",
            )
        elif isinstance(self.z_source, tuple) and not np.isfinite(self.z_source).all():
            yield Problem(path, "finite positions in micrometers expected, found inf or nan")
        elif self.z_source == "metadata" and spec.z_metadata is None:
            yield Problem(
                path,
                "'metadata': the files tell no position for every slice; use 'names', "
                "'coordinates' or a list",
            )
        elif not isinstance(self.z_source, tuple) and self.z_source != "metadata":
            try:
                positions = self._positions(spec)
            except PolicyError as error:
                yield Problem(f"{self.name}.policy", f"{error}; {OTHER_SOURCES}")
                return
            if positions is None:
                yield Problem(
                    path,
                    "where the slices lie is not known: voxel_size = [x, y, z] tells it, or a list "
                    "of positions in micrometers, or a coordinate z with units = 'micrometer'",
                )

    def _check_outputs(self) -> Iterator[Problem]:
        if self.antialias and self.interpolation == "whole":
            yield Problem(
                f"{self.name}.antialias",
                '"whole" slices are copied: another interpolation, or no antialiasing, expected',
            )
        if self.zpos_out is not None:
            if not self.zpos_out or list(self.zpos_out) != sorted(set(self.zpos_out)):
                message = "positions in micrometers that go up expected"
                yield Problem(f"{self.name}.zpos_out", message)
        elif self.dz is None:
            message = "missing: the distance of the slices in micrometers, or zpos_out"
            yield Problem(f"{self.name}.dz", message)
        elif not 0 < self.dz < np.inf:
            yield Problem(f"{self.name}.dz", f"above 0 expected, found {self.dz:g}")


def blend(lower: Any, upper: Any, distance: float, gap: float, out: Any) -> None:
    """Interpolate between two slices, of numpy or cupy.

    Parameters
    ----------
    lower, upper : ndarray, shape (rows, columns)
        The slices.
    distance, gap : float
        How far above the lower one the result lies, and the upper one.
    out : ndarray of float, shape (rows, columns)
        Receives the result.
    """
    (_blend if namespace(out) is np else blend_on_arrays)(lower, upper, distance, gap, out)


def add_up(images: Sequence[Any], weights: Sequence[float], out: Any) -> None:
    """Write the weighted sum of slices, of numpy or cupy.

    Parameters
    ----------
    images : sequence of ndarray, shape (rows, columns)
        The slices; a single one is copied.
    weights : sequence of float
        One for each.
    out : ndarray of float, shape (rows, columns)
        Receives the sum.
    """
    if len(images) == 1:
        out[:] = images[0]
        return
    out[:] = 0
    add = _add if namespace(out) is np else add_on_arrays
    for image, weight in zip(images, weights, strict=True):
        add(image, out.dtype.type(weight), out)


def add_on_arrays(image: Any, weight: Any, out: Any) -> None:
    """Add a slice times its weight, of numpy or cupy."""
    out += weight * image.astype(out.dtype)


@compiled()
def _add(image: Array, weight: Any, out: Array) -> None:
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] += weight * out.dtype.type(image[row, column])


@compiled()
def _blend(lower: Array, upper: Array, distance: float, gap: float, out: Array) -> None:
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            value = np.float64(lower[row, column])
            out[row, column] = value + distance * ((upper[row, column] - value) / gap)


def blend_on_arrays(lower: Any, upper: Any, distance: float, gap: float, out: Any) -> None:
    """Do what `blend` does by operations on whole arrays, of numpy or cupy."""
    below = lower.astype(np.float64)
    out[:] = below + distance * ((upper - below) / gap)

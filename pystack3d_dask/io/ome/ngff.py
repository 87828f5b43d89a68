"""The size of voxels in the metadata of OME-Zarr images (NGFF), versions 0.1 to 0.5.

Versions 0.1 and 0.2 have five axes without names, 0.3 names them, 0.4 and 0.5 give scales,
translations and units. Damaged lengths are left aside with a note.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from pystack3d_dask.io.units import is_length, is_position, micrometers_per, number

Triple = tuple[float, float, float]
SPACE = "zyx"


@dataclass(frozen=True)
class NgffGeometry:
    """Voxel geometry that the metadata of an image give.

    Parameters
    ----------
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers.
    z : tuple of float, optional
        Position of each slice in micrometers, ascending or descending.
    proportions : tuple of float, optional
        Extents along z, y and x in a unit that is not known, where that is all.
    offset : tuple of float
        Position of the first voxel along z, y and x, in micrometers or the unknown unit.
    notes : tuple of str
        What is left aside, and why.
    """

    pixel_size: tuple[float, float] | None = None
    z: tuple[float, ...] | None = None
    proportions: Triple | None = None
    offset: Triple = (0.0, 0.0, 0.0)
    notes: tuple[str, ...] = ()


def read_ngff(
    multiscale: Mapping[str, Any],
    dataset: Mapping[str, Any],
    extents: Mapping[str, int],
    assumed: Collection[str] = (),
) -> NgffGeometry:
    """Return what the metadata of an image tell of its voxels.

    Parameters
    ----------
    multiscale, dataset : mapping
        The image, and its level.
    extents : mapping of str to int
        Voxels along each axis, by name, in their order.
    assumed : collection of str
        Axes whose lengths are known to be assumed: they count as unknown.
    """
    reader = _Reader(extents)
    step, start = reader.transformed(dataset, multiscale)
    units = _units(multiscale, tuple(extents))
    scales = {axis: micrometers_per(units.get(axis)) for axis in SPACE if axis not in assumed}
    for axis in SPACE:
        reader.check_unit(axis, units.get(axis))
    lines = {
        axis: line
        for axis, scale in scales.items()
        if axis in extents
        and scale is not None
        and (line := reader.line(axis, step[axis] * scale, start[axis] * scale)) is not None
    }
    z, pixel_size = _positions(lines, extents), reader.pixel_size(lines)
    if z is not None or pixel_size is not None:
        y, x = (lines[axis][1] if axis in lines else 0.0 for axis in "yx")
        return NgffGeometry(pixel_size, z, None, (0.0, y, x), reader.told)
    proportions, origin = (None, (0.0, 0.0, 0.0)) if assumed else reader.proportions(step, start)
    return NgffGeometry(None, None, proportions, origin, reader.told)


Line = tuple[float, float]  # step and start


@dataclass(frozen=True)
class _Reader:
    """Reads transformations, and notes what cannot be used."""

    extents: Mapping[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.notes))

    def transformed(self, *holders: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """Return step and start of each axis, after the transformations of all holders."""
        count = len(self.extents)
        step, start = np.ones(count), np.zeros(count)
        with np.errstate(invalid="ignore", over="ignore"):  # lengths are looked at later
            for each in (found for holder in holders for found in _transformations(holder)):
                kind = each.get("type")
                values = self._vector(each, str(kind)) if kind in ("scale", "translation") else None
                if kind not in ("scale", "translation", "identity"):
                    self.notes.append(f"a transformation of type {str(kind)[:40]!r} is left aside")
                if values is None:
                    continue
                if kind == "scale":
                    step, start = step * values, start * values
                else:
                    start = start + values
        return (
            dict(zip(self.extents, step.tolist(), strict=True)),
            dict(zip(self.extents, start.tolist(), strict=True)),
        )

    def _vector(self, transformation: Mapping[str, Any], kind: str) -> np.ndarray[Any, Any] | None:
        values = transformation.get(kind)
        if not isinstance(values, list) or len(values) != len(self.extents):
            self.notes.append(
                f"a {kind} of {len(self.extents)} numbers expected, found {str(values)[:80]}; it "
                "is left aside"
            )
            return None
        return np.array([number(value) for value in values])

    def check_unit(self, axis: str, unit: object) -> None:
        if unit not in (None, "", "pixel", "unknown") and micrometers_per(unit) is None:
            text = str(unit)[:40]
            self.notes.append(f"the unit of axis {axis}, {text!r}, is not known; it is left aside")

    def line(self, axis: str, step: float, start: float) -> Line | None:
        """Return step and lowest start of an axis, signed along z; None for what is damaged."""
        count = self.extents[axis]
        ends = (start, start + (count - 1) * step)
        if not is_length(abs(step)) or not all(map(is_position, ends)):
            self.notes.append(
                f"its metadata tell a length of {step:g} micrometers along {axis}, from "
                f"{start:g}: damaged, and left aside"
            )
            return None
        if axis == "z" or step > 0:
            return step, start
        self.notes.append(
            f"axis {axis} runs backward, {step:g} micrometers a pixel: the image is mirrored, its "
            "coordinates run forward"
        )
        return -step, min(ends)

    def pixel_size(self, lines: Mapping[str, Line]) -> tuple[float, float] | None:
        known = [lines[axis][0] for axis in "yx" if axis in lines]
        if len(known) == 1:
            self.notes.append(
                f"only one side of a pixel is known, {known[0]:g} micrometers: it is taken to be "
                "a square; voxel_size gives the true size"
            )
        return (known[0], known[-1]) if known else None

    def proportions(
        self, step: Mapping[str, float], start: Mapping[str, float]
    ) -> tuple[Triple | None, Triple]:
        """Return the extents of a voxel and the position of the first, in an unknown unit."""
        nothing = (0.0, 0.0, 0.0)
        y, x = step["y"], step["x"]
        steps = (step.get("z", y), y, x)
        starts = (start.get("z", 0.0), start["y"], start["x"])
        if steps == (1.0, 1.0, 1.0) and starts == nothing:
            return None, nothing
        if not all(isfinite(each) and each for each in (*steps, 1.0 + abs(sum(starts)))):
            self.notes.append(
                f"its metadata tell voxels of {steps} from {starts} (z, y, x): damaged, and left "
                "aside"
            )
            return None, nothing
        if min(steps) < 0:
            self.notes.append(f"a scale is negative, {steps} (z, y, x): its sign is left aside")
        unit = 1.0 if all(is_length(abs(each)) for each in steps) else abs(x)
        z, y, x = (abs(each) / unit for each in steps)
        if not all(map(is_length, (z, y, x))):
            self.notes.append(f"its metadata tell voxels of {steps} (z, y, x): left aside")
            return None, nothing
        return (z, y, x), (starts[0] / unit, starts[1] / unit, starts[2] / unit)


def _transformations(holder: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = holder.get("coordinateTransformations", ())
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else ()


def _units(multiscale: Mapping[str, Any], names: Sequence[str]) -> dict[str, object]:
    axes = multiscale.get("axes") or [{}] * len(names)
    return {
        name: axis.get("unit") if isinstance(axis, dict) else None
        for name, axis in zip(names, axes, strict=True)
    }


def _positions(lines: Mapping[str, Line], extents: Mapping[str, int]) -> tuple[float, ...] | None:
    if "z" not in lines:
        return None
    step, start = lines["z"]
    return tuple(start + k * step for k in range(extents["z"]))

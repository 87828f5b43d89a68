"""A stack with defects and the same stack without them, slice by slice from a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import tifffile

from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.demo.defects import (
    Background,
    Edges,
    brightness,
    curtains,
    drift,
    framed,
    noisy,
    positions,
)
from pystack3d_dask.demo.fields import VOXEL_SIZE, Plane
from pystack3d_dask.demo.params import params_toml
from pystack3d_dask.demo.textures import TEXTURES, Texture
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.kernels.casting import cast

View = tuple[slice, slice]

SMALLEST = 64
"""Fewest rows and columns."""
ORIGIN = "the demo stack"


@dataclass(frozen=True)
class DemoStack:
    """A stack with defects, and the same stack without them.

    The specimen is a function of the position; a slice shows it where the slice lies. In
    the order in which they happen::

        face(k)   the specimen at depth z[k], moved by shifts[k], in its surroundings
        slice(k) = (face(k) + curtains(k) + background(k)) * gains[k] + offsets[k] + noise

    Every slice depends on the parameters and on its index only, so that slices can be
    made in any order and in parallel, with the memory of a few slices. All strengths may
    be 0, which switches the defect off and changes nothing else.

    Parameters
    ----------
    shape : tuple of int
        Slices, rows and columns of the defective stack; 64 rows and columns or more.
    seed : int
        Another one makes another specimen with other defects.
    texture : {"porous", "cellular"}
        An electrode with dark pores and two solid phases, or tissue with dark membranes.
    dtype : {"uint8", "uint16"}
        Type of the pixels.
    border : float
        Width of what surrounds the specimen as a fraction of the shorter side; above the
        specimen it is twice as wide.
    shift : float
        Largest distance of a slice from the first one along either axis, in pixels: a slow
        drift and some jumps.
    uneven : float
        How unequal the distances of slices are, 0 to 1; above 0 some slices are missing.
    curtaining : float
        Strength of vertical stripes as a fraction of the full range.
    shading : float
        Brightest minus darkest point of the background, as a fraction of the full range.
    flicker : float
        Largest relative change of the brightness of a slice.
    noise : float
        Standard deviation of white as a fraction of the full range.
    blank : tuple of int
        Slices that the microscope lost: 0 everywhere.
    detector : int
        Others see the same specimen, shifts and curtains with another contrast, and have a
        background, a flicker and a noise of their own.
    """

    shape: Triple = (40, 256, 256)
    seed: int = 0
    texture: Texture = "porous"
    dtype: Literal["uint8", "uint16"] = "uint8"
    border: float = 0.06
    shift: float = 5.0
    uneven: float = 0.6
    curtaining: float = 0.05
    shading: float = 0.3
    flicker: float = 0.1
    noise: float = 0.03
    blank: tuple[int, ...] = ()
    detector: int = 0

    def __post_init__(self) -> None:
        slices, *sides = self.shape
        largest = min(sides) / 8
        wrong = [
            Problem(name, f"found {getattr(self, name)!r}, expected {expected}")
            for name, expected, valid in (
                ("shape", "a slice or more", slices >= 1),
                ("shape", f"{SMALLEST} or more rows and columns", min(sides) >= SMALLEST),
                ("seed", "zero or a positive number", self.seed >= 0),
                ("texture", "'porous' or 'cellular'", self.texture in get_args(Texture)),
                ("dtype", "'uint8' or 'uint16'", self.dtype in ("uint8", "uint16")),
                ("border", "0 to 0.125", 0 <= self.border <= 0.125),
                ("shift", f"0 to an eighth of a side, {largest:g}", 0 <= self.shift <= largest),
                ("uneven", "0 to 1", 0 <= self.uneven <= 1),
                ("curtaining", "0 to 1", 0 <= self.curtaining <= 1),
                ("shading", "0 to 1", 0 <= self.shading <= 1),
                ("flicker", "0 to 1", 0 <= self.flicker <= 1),
                ("noise", "0 to 1", 0 <= self.noise <= 1),
                ("blank", "indices of slices", all(0 <= k < slices for k in self.blank)),
                ("detector", "zero or a positive number", self.detector >= 0),
            )
            if not valid
        ]
        if wrong:
            raise ParameterError(wrong, ORIGIN)

    @cached_property
    def z(self) -> Array:
        """Where the slices lie, in micrometers from the first one; shape (slices,)."""
        return positions(self.shape[0], VOXEL_SIZE, self.uneven, self._random("positions"))

    @cached_property
    def truth_z(self) -> Array:
        """Where the slices of the truth lie: as far as the stack reaches, a voxel apart."""
        return VOXEL_SIZE * np.arange(int(self.z[-1] / VOXEL_SIZE + 1e-6) + 1)

    @cached_property
    def shifts(self) -> Array:
        """How far each slice moved down and to the right, in pixels; shape (slices, 2).

        Pixel (y, x) of slice k shows what is at (y, x) - shifts[k] in the first slice.
        """
        return drift(self.shape[0], self.shift, self._random("shifts"))

    @property
    def gains(self) -> Array:
        """Relative brightness of each slice; shape (slices,)."""
        return self._brightness[0]

    @property
    def offsets(self) -> Array:
        """What is added to each slice, in gray levels; shape (slices,)."""
        return self._brightness[1] * self.white

    @property
    def white(self) -> int:
        """Largest gray level."""
        return int(np.iinfo(self.dtype).max)

    @property
    def feature(self) -> float:
        """Typical distance of features in pixels: 1.5 times the root of the shorter side."""
        return 1.5 * float(np.sqrt(min(self.shape[1:])))

    @property
    def view(self) -> View:
        """Rows and columns that show the specimen in every slice."""
        if not self.border:
            return slice(0, self.shape[1]), slice(0, self.shape[2])
        (low_y, low_x), (high_y, high_x) = self.shifts.min(axis=0), self.shifts.max(axis=0)
        top, bottom, left, right = self._edges
        return (
            slice(int(np.ceil(top + high_y)), int(np.floor(bottom + low_y))),
            slice(int(np.ceil(left + high_x)), int(np.floor(right + low_x))),
        )

    @property
    def truth_shape(self) -> Triple:
        """Slices, rows and columns of the truth."""
        rows, columns = self.view
        return len(self.truth_z), rows.stop - rows.start, columns.stop - columns.start

    def truth(self, z: Iterable[float] | None = None, view: View | None = None) -> Iterator[Array]:
        """Yield the slices of the truth, float32, in gray levels of the stack.

        Parameters
        ----------
        z : iterable of float, optional
            Depths in micrometers; `truth_z` by default.
        view : tuple of slice, optional
            Rows and columns of the first slice; `view` by default.
        """
        return (self.specimen(depth, view) for depth in (self.truth_z if z is None else z))

    def specimen(self, z: float, view: View | None = None) -> Array:
        """Return what a perfect microscope sees at a depth, in the frame of the first slice.

        Parameters
        ----------
        z : float
            Micrometers from the first slice on.
        view : tuple of slice, optional
            Rows and columns of the first slice; `view` by default.

        Returns
        -------
        ndarray of float32, shape of the view
            Gray levels of the stack, not rounded, and without any noise.
        """
        rows, columns = view or self.view
        shape = rows.stop - rows.start, columns.stop - columns.start
        return self._sampled(z, (rows.start, columns.start), shape) * np.float32(self.white)

    def face(self, k: int) -> Array:
        """Return slice ``k`` in its place and with its surroundings, but without defects."""
        return self._face(k) * np.float32(self.white)

    def curtains(self, k: int) -> Array:
        """Return the stripes that are added to slice ``k``, in gray levels."""
        return self._curtains(k, self._face(k)) * np.float32(self.white)

    def background(self, k: int) -> Array:
        """Return the background that is added to slice ``k``, in gray levels."""
        return self._background.slice(k) * np.float32(self.white)

    def slice(self, k: int) -> Array:
        """Return slice ``k`` with all its defects, shape (rows, columns)."""
        if k in self.blank:
            return np.zeros(self.shape[1:], self.dtype)
        image = self._face(k)
        image += self._curtains(k, image)
        image += self._background.slice(k)
        gains, offsets = self._brightness
        image *= np.float32(gains[k])
        image += np.float32(offsets[k])
        image = noisy(image, self.noise, self.seed, self._of_detector("noise"), k)
        image *= np.float32(self.white)
        return cast(image, np.dtype(self.dtype), "float32")

    def uncorrected(self) -> Iterator[Array]:
        """Yield the defective slices, cropped to the view."""
        return (self.slice(k)[self.view] for k in range(self.shape[0]))

    def write(
        self,
        directory: str | Path,
        channels: Sequence[str] = (".",),
        compression: Literal["deflate"] | None = None,
    ) -> Path:
        """Write the defective slices and the ``params.toml`` that mends them; return the path.

        Parameters
        ----------
        directory : path
            A new or an empty directory.
        channels : sequence of str
            Sub-directories, one for each detector; ``"."`` is the directory itself.
        compression : {"deflate"}, optional
            Of the TIFF files.

        Raises
        ------
        ParameterError
            When the directory holds anything; nothing is written then.
        """
        target = Path(directory)
        if target.exists() and not (target.is_dir() and next(target.iterdir(), None) is None):
            message = "is there and not empty, expected a new or an empty directory"
            raise ParameterError([Problem(str(target), message)], ORIGIN)
        for detector, channel in enumerate(channels, start=self.detector):
            (target / channel).mkdir(parents=True, exist_ok=True)
            seen = replace(self, detector=detector)
            for k in range(self.shape[0]):
                seen.write_slice(target / channel, k, compression)
        (target / "params.toml").write_text(params_toml(self, channels), encoding="utf-8")
        return target

    def write_slice(
        self, directory: Path, k: int, compression: Literal["deflate"] | None = None
    ) -> Path:
        """Write one defective slice, named by its index and its position in micrometers."""
        path = directory / f"slice_{k:04d}_z={self.z[k]:.4f}um.tif"
        pixels_per_cm = 1e4 / VOXEL_SIZE
        tifffile.imwrite(
            path,
            self.slice(k),
            resolution=(pixels_per_cm, pixels_per_cm),
            resolutionunit="CENTIMETER",
            compression=compression,
            metadata=None,
        )
        return path

    @property
    def _edges(self) -> Edges:
        """Top, bottom, left and right edge of the specimen in the first slice."""
        _, rows, columns = self.shape
        width = round(self.border * min(rows, columns))
        return 2 * width, rows - width, width, columns - width

    @cached_property
    def _brightness(self) -> tuple[Array, Array]:
        random = self._random(self._of_detector("brightness"))
        return brightness(self.shape[0], self.flicker, random)

    @cached_property
    def _background(self) -> Background:
        random = self._random(self._of_detector("background"))
        return Background.random(self.shape, self.shading, random)

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *name.encode()])

    def _of_detector(self, name: str) -> str:
        return f"{name} {self.detector}"

    def _plane(self, z: float, corner: tuple[float, float], shape: tuple[int, int]) -> Plane:
        return Plane(self.seed, (z / VOXEL_SIZE, *corner), shape)

    def _sampled(self, z: float, corner: tuple[float, float], shape: tuple[int, int]) -> Array:
        image = TEXTURES[self.texture](self._plane(z, corner, shape), self.feature)
        # a bent curve: dark detail brighter for the odd detectors, darker for the even ones
        bend = np.float32(0.6 * (self.detector % 2) - 0.3 * (self.detector > 0))
        return image + 2 * bend * image * (1 - image) if self.detector else image

    def _face(self, k: int) -> Array:
        moved = self.shifts[k]
        corner, shape = (-float(moved[0]), -float(moved[1])), self.shape[1:]
        image = self._sampled(float(self.z[k]), corner, shape)
        if not self.border:
            return image
        top, bottom, left, right = self._edges
        edges = top + moved[0], bottom + moved[0], left + moved[1], right + moved[1]
        return framed(image, edges, self._plane(self.z[k], corner, shape))

    def _curtains(self, k: int, face: Array) -> Array:
        """Return the stripes on a face: they lie on the specimen and move with its image."""
        plane = Plane(self.seed, (k, *-self.shifts[k]), self.shape[1:])
        return curtains(face, plane, self.curtaining)

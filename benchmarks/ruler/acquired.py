"""A stack with defects, beside all that is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ruler.interpolation import UNMOVED, Interpolation

Array = npt.NDArray[Any]

WHITE = 255.0
"""Gray level of white: all errors are in gray levels of 8 bits."""


class Specimen(Protocol):
    """The view of a perfect microscope, as a function of the position.

    Attributes
    ----------
    name : str
        Of the texture.
    shape : tuple of int
        Slices, rows and columns.
    """

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...

    def at(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return the slice at depth ``z`` (in slices) that begins at row ``y``, column ``x``.

        Returns
        -------
        ndarray of float32, shape (rows, columns)
            Gray levels, 0 to `WHITE`, without noise.
        """
        ...

    def pores(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        """Return where that slice shows the dark class, bool, shape (rows, columns)."""
        ...


@dataclass(frozen=True)
class Acquired:
    """Slices that a microscope delivers, and the truth.

    Arrays are (slices, rows, columns), in the frame of the acquisition, unless they say otherwise.
    Slice k shows the specimen at depth ``depths[k]``, moved by ``shifts[k]``: its pixel (y, x)
    shows what the first slice has at (y, x) - shifts[k].

    Parameters
    ----------
    name : str
        Texture and defects.
    slices : ndarray of uint8
        What a program gets.
    clean : ndarray of float32
        The same faces without any defect and without noise, in their places (moved).
    noise : ndarray of float32
        The noise that was added, before rounding.
    shifts : ndarray of float64, shape (slices, 2)
        Pixels down and to the right.
    depths : ndarray of float64, shape (slices,)
        In slices from the first one on; rising.
    bad : tuple of int
        Slices that show something else than the specimen, or nothing usable.
    specimen : Specimen
        The truth at any place.
    """

    name: str
    slices: Array
    clean: Array
    noise: Array
    shifts: Array
    depths: Array
    bad: tuple[int, ...]
    specimen: Specimen

    def truth(self, depths: Array, rows: slice, columns: slice) -> Array:
        """Return the specimen at some depths, for rows and columns of the first slice."""
        images = [self.specimen.at(float(z)) for z in depths]
        return np.stack(images)[:, rows, columns]

    def pores(self, depths: Array, rows: slice, columns: slice) -> Array:
        """Return where it is of the dark class."""
        return np.stack([self.specimen.pores(float(z)) for z in depths])[:, rows, columns]

    @cached_property
    def empty(self) -> Array:
        """Mask of what shows nothing, as borders and voids do: exact zeros without noise."""
        return (self.slices == 0) & (self.noise == 0) & (self.clean >= 1)

    @property
    def defect(self) -> Array:
        """Changes that the defects made, in gray levels, with rounding and clipping.

        What is `empty` was not changed: nothing is known there.
        """
        changes = np.where(self.empty, 0, self.slices - self.clean - self.noise)
        return np.asarray(changes, np.float32)


@dataclass(frozen=True)
class Corrected:
    """The result of a program on an acquisition.

    Parameters
    ----------
    images : ndarray of float32, shape (slices, rows, columns)
        In any linear gray scale.
    depths : ndarray of float64, shape (slices,)
        Where the program says that they lie, in slices from the first one of the acquisition on.
    top, left : int
        Row and column of the first slice that their first pixel shows.
    steps : tuple of str
        What was applied.
    seconds : float
        Start-up included.
    interpolation : Interpolation
        By which slices were moved.
    """

    images: Array
    depths: Array
    top: int
    left: int
    steps: tuple[str, ...]
    seconds: float
    interpolation: Interpolation = UNMOVED

    @property
    def rows(self) -> slice:
        """Rows of the first slice."""
        return slice(self.top, self.top + self.images.shape[1])

    @property
    def columns(self) -> slice:
        """Columns of the first slice."""
        return slice(self.left, self.left + self.images.shape[2])

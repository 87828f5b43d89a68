"""What steps have to show of a run: numbers, and a sentence on how to read them.

A chart is a declaration; `pystack3d_dask.report` draws it, and writes its numbers as CSV.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pystack3d_dask.core.typing import Array, Arrays

Columns = Mapping[str, Sequence[Any] | Array]
FAR = 8.0  # times the distance that half of all slices keep to: 3.5 standard deviations or so
NEIGHBORS = 5  # slices to each side whose median a slice is compared with
SEEN = 0.02  # of the range of gray levels in a slice: less is seen by nobody


@dataclass(frozen=True, kw_only=True)
class Chart(ABC):
    """Something to show.

    Parameters
    ----------
    name : str
        Name of its files: no other chart of the step has it.
    title : str
        A few words.
    text : str
        How to read it.
    """

    name: str
    title: str
    text: str

    @abstractmethod
    def tables(self) -> dict[str, Columns]:
        """Return the numbers, by what is added to the name of the file: columns by name."""


@dataclass(frozen=True, kw_only=True)
class Lines(Chart):
    """Values over slices, or over another quantity, in panels with a common abscissa.

    Parameters
    ----------
    panels : dict
        By label of the ordinate, with its unit: series by name, 1-D, of the same length.
    x : str
        Label of the abscissa.
    positions : ndarray, optional
        The abscissa; 0, 1, ... by default.
    flags : dict of int to str
        Slices that stand out, and why; the abscissa is the slice then.
    logarithmic : bool
        Ordinates are logarithmic.
    """

    panels: Mapping[str, Mapping[str, Array]]
    x: str = "slice"
    positions: Array | None = None
    flags: Mapping[int, str] = field(default_factory=dict)
    logarithmic: bool = False

    @property
    def abscissa(self) -> Array:
        """The abscissa."""
        longest = max(len(s) for panel in self.panels.values() for s in panel.values())
        return np.arange(longest) if self.positions is None else self.positions

    def tables(self) -> dict[str, Columns]:
        series = {
            ", ".join(filter(None, (label, name))): values
            for label, panel in self.panels.items()
            for name, values in panel.items()
        }
        return {"": {self.x: self.abscissa, **series}}


@dataclass(frozen=True, kw_only=True)
class Maps(Chart):
    """Pictures of values on two axes, with common axes and a common scale.

    Parameters
    ----------
    maps : dict of str to ndarray, shape (rows, columns)
        By name.
    x, y, value : str
        Labels of the axes and of the scale.
    extent : tuple of float
        Values of x and y at the edges: left, right, and of the first and last row.
    is_image : bool
        Whether rows are counted downwards, and both axes have the same unit. The scale is then
        symmetric about 0: give deviations.
    """

    maps: Mapping[str, Array]
    x: str
    y: str
    value: str
    extent: tuple[float, float, float, float]
    is_image: bool = False

    def tables(self) -> dict[str, Columns]:
        return {name: self._matrix(values) for name, values in self.maps.items()}

    def _matrix(self, values: Array) -> Columns:
        left, right, first, last = self.extent
        rows, columns = values.shape
        y = first + (np.arange(rows) + 0.5) * (last - first) / rows
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        return {f"{self.y} \\ {self.x}": y} | {
            f"{at:g}": column for at, column in zip(x, values.T, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class Table(Chart):
    """Numbers that are read best as such.

    Parameters
    ----------
    columns : dict
        By heading.
    """

    columns: Columns

    def tables(self) -> dict[str, Columns]:
        return {"": self.columns}


def statistics(figures: Arrays) -> Lines:
    """Return the chart of minimum, maximum and mean of each slice before and after a step.

    Parameters
    ----------
    figures : dict of ndarray
        ``cast`` and, if known, ``before``: shape (slices, 3), NaN where not known.
    """
    stages = {"before": figures.get("before"), "after": figures["cast"]}
    known = {name: stage for name, stage in stages.items() if stage is not None}
    slices = max(map(len, known.values()))
    return Lines(
        name="gray_levels",
        title="Gray levels",
        text="Largest, mean and smallest gray level of each slice. After a good correction of "
        "brightness the mean runs smoothly; a slice apart from its neighbors is marked.",
        panels={
            what: {name: padded(stage[:, column], slices) for name, stage in known.items()}
            for what, column in (("maximum", 1), ("mean", 2), ("minimum", 0))
        },
        flags=dict.fromkeys(odd_brightness(figures["cast"]), "its mean stands out"),
    )


def odd_brightness(measured: Array) -> list[int]:
    """Return the slices whose mean stands out among their neighbors', so that it is seen.

    Parameters
    ----------
    measured : ndarray, shape (slices, 3)
        Minimum, maximum and mean, NaN where not known.
    """
    if np.isnan(measured).all():
        return []
    span = float(np.nanmedian(measured[:, 1] - measured[:, 0]))
    return outlying(measured[:, 2], least=SEEN * span)


def outlying(values: Array, least: float = 0.0) -> list[int]:
    """Return the places of values that are far from those before, those after and between.

    A drift or a step is thus none. Far is more than eight times as far as half of all values,
    and more than ``least``. NaN is passed over; of fewer than ten values none is far.

    Parameters
    ----------
    values : ndarray, shape (n,)
        One for each slice.
    least : float
        What does not count, however rare.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2 * NEIGHBORS:
        return []
    own = values[known]
    sides = _continued(own)
    medians = np.median(_windows(sides), axis=1)
    before, after = medians[: len(own)], medians[-len(own) :]
    places = np.stack([before, after, (before + after) / 2])
    distance = np.abs(own - places).min(axis=0)
    limit = max(FAR * float(np.median(distance)), least)
    return [int(z) for z in known[distance > limit]]


def _windows(values: Array) -> Array:
    return np.lib.stride_tricks.sliding_window_view(values, NEIGHBORS)


def _continued(values: Array) -> Array:
    """Return values continued to both sides, turned about the median of the outer three."""
    before = 2 * np.median(values[:3]) - values[NEIGHBORS + 2 : 2 : -1]
    after = 2 * np.median(values[-3:]) - values[-4 : -NEIGHBORS - 4 : -1]
    return np.concatenate([before, values, after])


def padded(values: Array, length: int) -> Array:
    """Return values as floats, followed by NaN up to a length."""
    result = np.full(length, np.nan)
    result[: len(values)] = values
    return result

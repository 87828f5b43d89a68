"""Sources around others, some of whose slices cannot be read: left out, or stood in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.errors import PixelError
from pystack3d_dask.io.source import Loss, Source

StandIn = Literal["keep", "interpolate"]


@dataclass(frozen=True)
class Wrapper:
    """What sources around another one have in common with it.

    Parameters
    ----------
    source : Source
        The other one.
    """

    source: Source

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.source.channels

    @property
    def specs(self) -> tuple[StackSpec, ...]:
        """One per channel."""
        return self.source.specs

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the slices."""
        return self.source.names

    @property
    def chunked(self) -> bool:
        """Whether regions can be read again at will."""
        return self.source.chunked

    @property
    def chunks(self) -> Triple:
        """Extent of what the files hold together."""
        return self.source.chunks

    @property
    def contents(self) -> dict[str, str]:
        """What slices are read from, those that are left out included."""
        return self.source.contents

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """Their paths."""
        return self.source.paths

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying about the files."""
        return self.source.notes

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region; see `Source.read`."""
        return self.source.read(channel, region)

    def loss(self, channel: int, z: int) -> Loss | None:
        """Return what the source says about a slice; see `Source.loss`."""
        return self.source.loss(channel, z)


@dataclass(frozen=True)
class Picked(Wrapper):
    """Some slices of a source, as if there were no others.

    Parameters
    ----------
    source : Source
        All slices.
    slices : tuple of int
        Those that are there, ascending.
    """

    slices: tuple[int, ...]

    @cached_property
    def specs(self) -> tuple[StackSpec, ...]:
        """One per channel."""
        return tuple(spec.picked(self.slices) for spec in self.source.specs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the slices."""
        return tuple(self.source.names[z] for z in self.slices)

    @cached_property
    def fingerprint(self) -> str:
        """That of the source, and which slices are there."""
        return _digest(self.source.fingerprint, self.slices)

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region; see `Source.read`."""
        spec = self.specs[channel]
        region.check_inside(spec.shape)
        out = np.empty(region.shape, spec.dtype)
        for image, z in zip(out, self.slices[region.start[0] : region.stop[0]], strict=True):
            image[...] = self.source.read(channel, region.with_z(z, z + 1))[0]
        return out

    def loss(self, channel: int, z: int) -> Loss | None:
        """Return what the source says about a slice; see `Source.loss`."""
        return self.source.loss(channel, self.slices[z])

    def selected(self, start: int, stop: int) -> Picked:
        """Return the source without the slices outside ``start:stop``."""
        return replace(self, slices=self.slices[max(start, 0) : max(stop, 0)])


@dataclass(frozen=True)
class Mended(Wrapper):
    """A source in which something stands in for slices that cannot be read.

    All of a slice is decoded when it is read for the first time: whether it can be read must
    not depend on the region that is asked for.

    Parameters
    ----------
    source : Source
        Where slices that cannot be read raise PixelError.
    mode : {"keep", "interpolate"}
        Whether such slices are blank, or made of their neighbors.
    """

    mode: StandIn
    _reasons: dict[tuple[int, int], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # of the slices that were decoded, by channel and index; empty for those that can be read

    @cached_property
    def fingerprint(self) -> str:
        """That of the source, and what stands in."""
        between = [spec.z for spec in self.specs] if self.mode == "interpolate" else []
        return _digest(self.source.fingerprint, self.mode, *between)

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region, those that stand in included.

        Raises
        ------
        PixelError
            When there is nothing to interpolate, or the operating system refused to read.
        """
        spec = self.specs[channel]
        region.check_inside(spec.shape)
        out = np.empty(region.shape, spec.dtype)
        for image, z in zip(out, region.z, strict=True):
            part = region.with_z(z, z + 1)
            own = self.own(channel, part)
            image[...] = STAND_INS[self.mode].image(self, channel, part) if own is None else own
        return out

    def loss(self, channel: int, z: int) -> Loss | None:
        """Return why something stands in for a slice; see `Source.loss`."""
        reason = self._reason(channel, z)
        return Loss(reason, STAND_INS[self.mode].done) if reason else None

    def selected(self, start: int, stop: int) -> Mended:
        """Return the source without the slices outside ``start:stop``."""
        return replace(self, source=self.source.selected(start, stop))

    def own(self, channel: int, part: Region) -> Array | None:
        """Return the pixels of a part of one slice, None when the slice cannot be read."""
        z = part.start[0]
        reason = self._reasons.get((channel, z))
        if reason is None:
            image, self._reasons[channel, z] = decoded(self.source, channel, z)
            return None if image is None else image[part.slices[1:]]
        return None if reason else self.source.read(channel, part)[0]

    def readable_around(self, channel: int, z: int) -> tuple[int, int]:
        """Return the nearest slices before and after one that can be read.

        At the ends of the stack, where there is no other, both are the same.

        Raises
        ------
        PixelError
            When there are none.
        """
        sides = range(z - 1, -1, -1), range(z + 1, self.specs[channel].shape[0])
        found = [next((k for k in side if not self._reason(channel, k)), None) for side in sides]
        readable = [k for k in found if k is not None]
        if not readable:
            msg = (
                f"channel {self.channels[channel]}: none of its slices can be read, so that there "
                f"is nothing to interpolate; the first: {self._reason(channel, 0)}"
            )
            raise PixelError(msg)
        return readable[0], readable[-1]

    def _reason(self, channel: int, z: int) -> str:
        if (channel, z) not in self._reasons:
            self._reasons[channel, z] = decoded(self.source, channel, z)[1]
        return self._reasons[channel, z]


def acquisition(source: Source) -> Source:
    """Return the source as it lies on disk."""
    return acquisition(source.source) if isinstance(source, Wrapper) else source


def decoded(source: Source, channel: int, z: int) -> tuple[Array | None, str]:
    """Return all pixels of a slice, or None and why they cannot be read.

    Raises
    ------
    PixelError
        When the operating system refused, as it does when a drive is away: that may pass,
        and says nothing about the pixels.
    """
    try:
        return source.read(channel, source.specs[channel].region.with_z(z, z + 1))[0], ""
    except PixelError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        return None, str(error)


def _blank(source: Mended, channel: int, part: Region) -> Array:
    return np.zeros(part.shape[1:], source.specs[channel].dtype)


def _interpolated(source: Mended, channel: int, part: Region) -> Array:
    z, spec = part.start[0], source.specs[channel]
    before, after = source.readable_around(channel, z)
    first: Array = source.source.read(channel, part.with_z(before, before + 1))[0]
    if before == after:
        return first
    last = source.source.read(channel, part.with_z(after, after + 1))[0]
    weight = spec.share_between(before, z, after)
    with np.errstate(invalid="ignore"):  # infinite pixels, which are repaired later
        values = (1 - weight) * first.astype(np.float64) + weight * last.astype(np.float64)
    rounded: Array = np.rint(values) if spec.is_integer else values
    return rounded.astype(spec.dtype)


def _digest(*parts: object) -> str:
    return sha256(repr(parts).encode()).hexdigest()


class _StandIn(NamedTuple):
    """What stands in for a slice: in words, and the function that makes a part of it."""

    done: str
    image: Callable[[Mended, int, Region], Array]


STAND_INS: Mapping[StandIn, _StandIn] = {
    "keep": _StandIn("left blank", _blank),
    "interpolate": _StandIn("interpolated", _interpolated),
}

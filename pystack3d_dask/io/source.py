"""What every source of slices offers, whatever its files look like."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pystack3d_dask.core.spec import Region, StackSpec
from pystack3d_dask.core.typing import Array, Triple


class Loss(NamedTuple):
    """A slice whose pixels cannot be read.

    Parameters
    ----------
    reason : str
        Which file it is, and why it cannot be read.
    done : str
        What was made of it, as a participle: "left out", "interpolated".
    """

    reason: str
    done: str


class Source(Protocol):
    """A stack on disk: cheap to open, small to pickle, read region by region.

    Attributes
    ----------
    channels : tuple of str
        Names of the channels.
    specs : tuple of StackSpec
        One per channel; they agree in shape.
    names : tuple of str
        Names of the slices, as messages and exports show them (those of the first channel).
    chunked : bool
        Whether a region can be read again without decoding much around it: such a
        source is read in place, others are ingested once.
    chunks : tuple of int
        Extent along (z, y, x) of what the files hold together: a slice, or a chunk or shard.
    fingerprint : str
        Changes when slices are replaced, added, removed or selected otherwise.
    contents : dict of str to str
        The files, or arrays, that slices are read from, and what changes with their content.
    paths : dict of str to tuple of str
        By the same names, the files that are read for them.
    notes : tuple of str
        What is worth saying about the files: metadata that cannot be used, or contradict them.
    """

    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def specs(self) -> tuple[StackSpec, ...]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def chunked(self) -> bool: ...
    @property
    def chunks(self) -> Triple: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def contents(self) -> dict[str, str]: ...
    @property
    def paths(self) -> dict[str, tuple[str, ...]]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, channel: int, region: Region) -> Array:
        """Return the pixels of a region, shape ``region.shape``, in the spec's type.

        Raises
        ------
        PixelError
            Naming the file and the reason, when pixels cannot be decoded.
        """
        ...

    def loss(self, channel: int, z: int) -> Loss | None:
        """Return why a slice shows other pixels than its own; None when it shows its own."""
        ...

    def selected(self, start: int, stop: int) -> Source:
        """Return the source without the slices outside ``start:stop``."""
        ...

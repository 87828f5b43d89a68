"""Channels of stored stacks, as they can be exported, and the names of their slices' files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from pystack3d_dask.core.chain import Chain, source_slice
from pystack3d_dask.core.formatting import quoted
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.typing import Array
from pystack3d_dask.errors import ExportError
from pystack3d_dask.io.ome.image import ResultReader
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.tiff.stack import SUFFIXES, TiffStack
from pystack3d_dask.io.tiff.writer import Style, read_style
from pystack3d_dask.io.work import Level
from pystack3d_dask.io.wrappers.mended import acquisition
from pystack3d_dask.project.channel_folder import channel_folder
from pystack3d_dask.project.known import known_work
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.record import level_name


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One channel of a stored stack.

    Parameters
    ----------
    name : str
        Its name.
    spec : StackSpec
        The stack, in the type of the channel.
    source : Source
        What the stack was made from, as it lies on disk.
    index : int
        Of the channel.
    made_of : tuple of int
        For each slice, the one of the source that it is, or that is nearest to it.
    read : callable
        Takes the index of a slice and returns it, shape (rows, columns).
    """

    name: str
    spec: StackSpec
    source: Source
    index: int
    made_of: tuple[int, ...]
    read: Callable[[int], Array]

    @property
    def folder(self) -> PurePosixPath:
        """The place of its files inside the directory of the export."""
        return channel_folder(self.name)

    def style(self, z: int) -> Style:
        """Return how to store a slice: like that of the source that it comes from.

        Raises
        ------
        PixelError
            When the header of the source's slice cannot be read.
        """
        if not isinstance(self.source, TiffStack):
            return Style()
        files = self.source.files[self.index]
        return read_style(files.folder, files.planes[self.made_of[z]])

    @cached_property
    def file_names(self) -> list[str]:
        """Names of the files of its slices.

        Raises
        ------
        ExportError
            When two slices have the same name, or one would lie in another directory.
        """
        return file_names(self.spec)


def stored_stack(project: Project, step: str | None = None) -> list[Channel]:
    """Return the channels of the result, or of what a step left.

    Parameters
    ----------
    project : Project
        The project.
    step : str, optional
        The step; the result without it.

    Raises
    ------
    ExportError
        When it is not stored.
    """
    fits, known = known_work(project)
    names = [level_name(project.steps, level) for level in range(len(project.steps) + 1)]
    level = _level_of(names, step, known.stored)
    return [
        _channel(project, chain, index, level) for index, chain in enumerate(project.chains(fits))
    ]


def file_names(spec: StackSpec) -> list[str]:
    """Return the names of the files of a stack's slices; see `Channel.file_names`."""
    names = [f"slice_{z:04d}" for z in range(spec.shape[0])] if spec.names is None else spec.names
    names = [name if name.lower().endswith(SUFFIXES) else f"{name}.tif" for name in names]
    twice = len(set(names)) < len(names)
    outside = [name for name in names if Path(name).name != name]
    if twice or outside:
        found = f"{outside[0]!r} is not the name of a file" if outside else "some are alike"
        msg = f"the names of the slices cannot be those of files: {found}; see resampling.policy"
        raise ExportError(msg)
    return list(names)


def origins(project: Project, chain: Chain, level: int) -> tuple[int, ...]:
    """Return which slice of the acquisition each slice of a level is, or is nearest to.

    Where they lie is what the steps in between go by: files may tell otherwise.
    """
    own = {name: k for k, name in enumerate(acquisition(project.source).names)}
    whole = chain.levels[level].region
    nearest = (source_slice(chain, level, whole.with_z(z, z + 1)).start[0] for z in whole.z)
    return tuple(own[project.source.names[k]] for k in nearest)


def _level_of(names: Sequence[str], step: str | None, stored: Iterable[int]) -> int:
    result = len(names) - 1
    if step is not None and step not in names[1:]:
        msg = f"{step!r} is not one of the steps; expected {quoted(names[1:])}"
        raise ExportError(msg)
    level = result if step is None else names.index(step)
    if level in stored:
        return level
    if level == result:
        msg = (
            "there is no complete result of these steps and parameters; `pystack3d-dask run` "
            "makes it"
        )
    else:
        there = quoted(names[k] for k in sorted(stored) if k) or "that of no step"
        msg = (
            f"what {step!r} leaves is not stored, only {there}; with checkpoint = true in "
            f'[{step}], and "intermediates" in keep, `pystack3d-dask run --restart` stores it'
        )
    raise ExportError(msg)


def _channel(project: Project, chain: Chain, index: int, level: int) -> Channel:
    spec = chain.levels[level]
    if level == len(chain.steps):
        dtype = chain.result_dtype
        reader = ResultReader(project.workspace.result)

        def read(z: int) -> Array:
            # a type that holds the values of all channels holds those of this one
            return reader.read(index, z).astype(dtype, copy=False)
    else:
        dtype = spec.dtype
        stored = Level(project.workspace.level(project.steps, level))

        def read(z: int) -> Array:
            image: Array = stored.read(index, spec.region.with_z(z, z + 1), dtype)[0]
            return image

    return Channel(
        name=project.source.channels[index],
        spec=replace(spec, dtype=dtype),
        source=acquisition(project.source),
        index=index,
        made_of=origins(project, chain, level),
        read=read,
    )

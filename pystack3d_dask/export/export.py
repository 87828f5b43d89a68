"""Stacks as TIFF files, slice by slice, and results as OME-Zarr 0.4.

Slices are read, compressed and written by a few threads, each of which holds one slice:
memory does not grow with the stack.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TypeVar

from pystack3d_dask.core.formatting import quoted
from pystack3d_dask.errors import ExportError
from pystack3d_dask.export.place import check_place, source_paths
from pystack3d_dask.export.removed import removed_stack
from pystack3d_dask.export.stored import Channel, stored_stack
from pystack3d_dask.io.ome.ome04 import is_version_04, write_version_04
from pystack3d_dask.io.tiff.stack import SUFFIXES
from pystack3d_dask.io.tiff.writer import (
    imagej_resolution,
    stack_description,
    stack_writer,
    write_slice,
)
from pystack3d_dask.io.zarr.chunk import remove_partials
from pystack3d_dask.project.project import Project

THREADS = 8
BYTES_IN_FLIGHT = 2**30
COPIES = 3  # of a slice while it is written: as read, as cast or cut into tiles, compressed

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class SliceDone:
    """An event: a slice is written.

    Parameters
    ----------
    name : str
        The file, or the slice of it.
    done, total : int
        How many are written, and how many there are to write.
    """

    name: str
    done: int
    total: int


OnSlice = Callable[[SliceDone], None]


def export_tiff(
    project: Project,
    directory: Path | str,
    *,
    step: str | None = None,
    removed: str | None = None,
    overwrite: bool = False,
    on_slice: OnSlice | None = None,
) -> list[Path]:
    """Write a TIFF file per slice, compressed and tagged like those of the source.

    A directory per channel, unless the slices lie in the project's directory itself.

    Parameters
    ----------
    project : Project
        The project.
    directory : path-like
        Where to.
    step : str, optional
        What a step left, if that is stored; the result without it.
    removed : str, optional
        What a step took away, see `pystack3d_dask.export.removed.removed_stack`, in place of that.
    overwrite : bool
        Write into a directory that is not empty.
    on_slice : callable, optional
        Called after each slice.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ExportError
        When there is nothing to export, or there are files that would be lost or would
        get into the source.
    PixelError
        When a slice cannot be read.
    """
    directory = Path(directory)
    channels = _channels(project, step, removed)
    check_slices(project, channels, directory, overwrite)
    written = []
    for path in write_slices(channels, directory):
        written.append(path)
        total = sum(channel.spec.shape[0] for channel in channels)
        _tell(on_slice, str(path.relative_to(directory)), len(written), total)
    return written


def check_slices(
    project: Project, channels: Sequence[Channel], directory: Path, overwrite: bool
) -> None:
    """Refuse to write slices where files would be lost, or mixed with others.

    Raises
    ------
    ExportError
    """
    if len({channel.folder for channel in channels}) < len(channels):
        msg = f"channels {quoted(channel.name for channel in channels)} would share a directory"
        raise ExportError(msg)
    for folder in (*(directory / channel.folder for channel in channels), directory):
        check_place(project, folder)
    check_empty(directory, overwrite)
    for channel in channels:
        _check_others(directory / channel.folder, channel)


def write_slices(channels: Sequence[Channel], directory: Path) -> Iterator[Path]:
    """Write a TIFF file per slice and channel; yield each when it is written."""
    targets = [
        (channel, z, directory / channel.folder / name)
        for channel in channels
        for z, name in enumerate(channel.file_names)
    ]
    for channel in channels:
        folder = directory / channel.folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_partials(folder, set(channel.file_names))

    def write(target: tuple[Channel, int, Path]) -> Path:
        channel, z, path = target
        style = channel.style(z)
        style = replace(style, resolution=style.resolution_of(channel.spec.pixel_size))
        write_slice(path, channel.read(z), style)
        return path

    return in_order(write, targets, threads_for(channels))


def export_bigtiff(
    project: Project,
    path: Path | str,
    *,
    step: str | None = None,
    removed: str | None = None,
    overwrite: bool = False,
    on_slice: OnSlice | None = None,
) -> list[Path]:
    """Write a BigTIFF with a page per slice: one file, or ``<name>_<channel>`` for each channel.

    Pages are compressed and tagged like the slices of the source. The first one says how
    far slices and pixels are apart, as ImageJ does. See `export_tiff` for parameters and
    errors.
    """
    path = Path(path)
    channels = _channels(project, step, removed)
    files = [path if len(channels) == 1 else _for_channel(path, each) for each in channels]
    check_place(project, path.parent)
    for file in files:
        _check_file(file, overwrite)
    total, before = sum(channel.spec.shape[0] for channel in channels), 0
    for file, channel in zip(files, channels, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_partials(file.parent, {file.name})
        for done in _append_all(channel, file):
            _tell(on_slice, channel.file_names[done - 1], before + done, total)
        before += channel.spec.shape[0]
    return files


def _channels(project: Project, step: str | None, removed: str | None) -> list[Channel]:
    if removed is None:
        return stored_stack(project, step)
    if step is not None:
        msg = "what a step left, or what one took away: step and removed do not go together"
        raise ExportError(msg)
    return removed_stack(project, removed)


def _append_all(channel: Channel, file: Path) -> Iterator[int]:
    """Write a BigTIFF; yield how many slices are written."""
    spec, count = channel.spec, channel.spec.shape[0]
    threads = threads_for([channel])
    description: str | None = stack_description(spec)
    resolution = imagej_resolution(spec)
    with stack_writer(file, channel.style(0).byteorder, threads) as writer:
        slices = in_order(lambda z: (channel.read(z), channel.style(z)), range(count), threads)
        for done, (image, style) in enumerate(slices, start=1):
            style = replace(style, resolution=resolution or style.resolution)
            writer.append(image, style, description)
            description = None
            yield done


def export_ome_zarr04(
    project: Project,
    path: Path | str,
    *,
    overwrite: bool = False,
    on_slice: OnSlice | None = None,
) -> Path:
    """Write the result as OME-Zarr 0.4 (Zarr version 2), with its coarser levels.

    Parameters
    ----------
    project : Project
        The project.
    path : path-like
        Directory to be made.
    overwrite : bool
        Replace an OME-Zarr 0.4 image.
    on_slice : callable, optional
        Called after each slab of slices.

    Raises
    ------
    ExportError
        When there is no result, or something at ``path`` that would be lost.
    PixelError
        When the result is damaged.
    """
    path = Path(path)
    stored_stack(project)
    if any(path.resolve() in (own, *own.parents) for own in source_paths(project.source)):
        msg = f"{path} is where the source lies; choose another place"
        raise ExportError(msg)
    check_place(project, path.parent)
    if path.exists() and not (overwrite and is_version_04(path)):
        advice = "--overwrite replaces it" if is_version_04(path) else "it is left alone"
        msg = f"{path} exists; {advice}"
        raise ExportError(msg)
    for done, total in write_version_04(project.workspace.result, path):
        _tell(on_slice, str(path), done, total)
    return path


def check_empty(directory: Path, overwrite: bool) -> None:
    """Refuse to write into a directory with something in it.

    Raises
    ------
    ExportError
    """
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        msg = f"{directory} is not empty; --overwrite writes there nevertheless"
        raise ExportError(msg)
    if directory.exists() and not directory.is_dir():
        msg = f"{directory}: a directory expected, found a file"
        raise ExportError(msg)


def threads_for(channels: Sequence[Channel]) -> int:
    """Return how many slices to work on at once, within processors and memory."""
    largest = max(
        prod(channel.spec.shape[1:]) * channel.spec.dtype.itemsize for channel in channels
    )
    fitting = BYTES_IN_FLIGHT // max(1, COPIES * largest)
    return max(1, min(THREADS, os.cpu_count() or 1, fitting))


def in_order(
    function: Callable[[Item], Found], items: Iterable[Item], threads: int
) -> Iterator[Found]:
    """Yield the results of a function in order, with at most one under way per thread."""
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Found]] = deque()
    try:
        for item in items:
            if len(pending) == threads:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_others(folder: Path, channel: Channel) -> None:
    names = set(channel.file_names)
    others = [
        path.name
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in SUFFIXES and path.name not in names
    ]
    if others:
        msg = (
            f"{folder} holds other TIFF files, such as {others[0]}, which would be taken for "
            "slices of the result; remove them or choose another directory"
        )
        raise ExportError(msg)


def _check_file(file: Path, overwrite: bool) -> None:
    if file.is_dir() or (file.exists() and not overwrite):
        msg = f"{file} exists; --overwrite replaces a file"
        raise ExportError(msg)


def _for_channel(path: Path, channel: Channel) -> Path:
    suffix = "_".join(channel.folder.parts)
    return path.with_name(f"{path.stem}_{suffix}{path.suffix}") if suffix else path


def _tell(on_slice: OnSlice | None, name: str, done: int, total: int) -> None:
    if on_slice is not None:
        on_slice(SliceDone(name=name, done=done, total=total))

"""Choosing channels for ``init``: a directory itself, its sub-directories, or its files.

Acquisitions often come with images that are no slices of the stack: an overview beside the
directories of the channels, key frames in a directory of their own. Whatever is not used is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pystack3d_dask.core.formatting import listed
from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.sources import folders_with_slices, open_source
from pystack3d_dask.io.tiff.header import slices_of
from pystack3d_dask.io.tiff.stack import tiff_names
from pystack3d_dask.io.zarr.source import is_zarr

HERE = "."
FEW = 16  # files of a directory that are all looked into: each may be a stack
SHOWN = 5  # names in a note


class Candidate(NamedTuple):
    """A possible channel: its name, number of slices, rows and columns (where readable)."""

    name: str
    slices: int
    shape: tuple[int, int] | None = None


def choose_channels(directory: Path) -> tuple[tuple[str, ...], list[str]]:
    """Choose the channels of a directory, without reading pixels.

    The directory itself is the stack unless its sub-directories hold at least twice as many
    slices: then its images are taken for overviews. Several multi-page files are a channel each.
    Candidates with another image size, or at most half the slices of the largest, are left out.

    Parameters
    ----------
    directory : Path
        The project.

    Returns
    -------
    channels : tuple of str
        Names for `open_source`; ``(".",)`` where nothing else is found.
    notes : list of str
        What is left out, and how to use it.
    """
    if not directory.is_dir() or is_zarr(directory):
        return (HERE,), []
    names = tiff_names(directory)
    zarrs = [path.name for path in directory.iterdir() if is_zarr(path)]
    here = _in_files(directory, names)
    if not names and len(zarrs) == 1:
        here = [_described(directory, zarrs[0])._replace(name=HERE)]
    used = zarrs if here and not names else []
    folders = [_described(directory, name) for name in folders_with_slices(directory)]
    folders = [each for each in folders if each.name not in used]
    if folders and 2 * _most(here) <= _most(folders):
        chosen, notes = _agreeing(folders)
        return chosen, [*_overviews(names, chosen), *notes]
    chosen, notes = _agreeing(here)
    return chosen or (HERE,), [*notes, *_other_folders(folders, chosen)]


def _in_files(directory: Path, names: Sequence[str]) -> list[Candidate]:
    """Return what the TIFF files of a directory are: one stack of slices, or a stack each."""
    if not names:
        return []
    looked_at = names if len(names) <= FEW else names[:1]
    found = [_of_file(directory / name) for name in looked_at]
    if len(names) == 1:
        return [found[0]._replace(name=HERE)]
    if all(each.slices == 1 for each in found):
        return [Candidate(HERE, len(names), found[0].shape)]
    rest = names[len(looked_at) :]
    return [*found, *(_of_file(directory / name) for name in rest)]


def _described(directory: Path, name: str) -> Candidate:
    """Return what a sub-directory or Zarr holds."""
    path = directory / name
    if is_zarr(path):
        try:
            spec = open_source(path).specs[0]
        except SourceError:
            return Candidate(name, 0)  # opening it says what is wrong
        return Candidate(name, spec.shape[0], spec.shape[1:])
    names = tiff_names(path)
    first = _of_file(path / names[0])
    slices = first.slices if len(names) == 1 else len(names)
    return Candidate(name, slices, first.shape)


def _of_file(path: Path) -> Candidate:
    try:
        slices = slices_of(str(path), alone=True)
    except Exception:  # opening the stack says what is wrong with a header
        return Candidate(path.name, 1)
    layout = slices[0].layout
    return Candidate(path.name, len(slices), (layout.rows, layout.columns))


def _most(candidates: Sequence[Candidate]) -> int:
    return max((each.slices for each in candidates), default=0)


def _agreeing(candidates: Sequence[Candidate]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of those that may be channels of one stack, and what is left out."""
    if not candidates:
        return (), []
    alike = Counter(each.shape for each in candidates)
    largest = max(candidates, key=lambda each: (each.slices, alike[each.shape]))
    kept = [each for each in candidates if _agrees(each, largest)]
    notes = [
        f"{each.name} is left out: {_shown(each)}, unlike {largest.name} with {_shown(largest)}"
        for each in candidates
        if each not in kept
    ]
    return tuple(each.name for each in kept), notes


def _agrees(one: Candidate, largest: Candidate) -> bool:
    same_size = None in (one.shape, largest.shape) or one.shape == largest.shape
    return same_size and 2 * one.slices > largest.slices


def _shown(each: Candidate) -> str:
    size = "" if each.shape is None else f" of {each.shape[1]} x {each.shape[0]} pixels"
    return f"{each.slices} slice{'s' * (each.slices != 1)}{size}"


def _overviews(names: Sequence[str], chosen: Sequence[str]) -> Iterator[str]:
    if names:
        yield (
            f"{listed(names, SHOWN)} beside the sub-directories "
            f"{'is' if len(names) == 1 else 'are'} not taken for slices: "
            f"channels = {_toml(chosen)} have more; "
            'channels = ["."] takes the directory itself'
        )


def _other_folders(folders: Sequence[Candidate], chosen: Sequence[str]) -> Iterator[str]:
    if folders:
        names = [each.name for each in folders]
        yield (
            f"{listed(names, SHOWN)} inside hold slices, too, which are not taken: "
            f"channels = {_toml(names)} does, in place of {_toml(chosen)}"
        )


def _toml(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)

"""What a path holds, and opening it as a stack."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from pystack3d_dask.core.formatting import listed
from pystack3d_dask.core.spec import HERE
from pystack3d_dask.errors import SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.tiff.stack import SUFFIXES, Samples, TiffStack, open_tiff, tiff_names
from pystack3d_dask.io.zarr.source import is_zarr, open_zarr

SHOWN = 10
RESULTS = "process"


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Parameters
    ----------
    label : str
        What messages call it.
    find : callable
        Takes the path of a channel; returns what to open, or None if it is another kind.
    open : callable
        Opens what was found, by name of the channel.
    """

    label: str
    find: Callable[[Path], Path | None]
    open: Callable[[Mapping[str, Path], Samples | None], Source]


def open_source(
    path: Path | str, *, channels: Sequence[str] = (".",), samples: Samples | None = None
) -> Source:
    """Open a stack, whatever its files look like.

    Parameters
    ----------
    path : path-like
        A Zarr, a TIFF file, or a directory.
    channels : sequence of str
        Sub-directories of a directory, ``"."`` or ``""`` being the directory itself, each
        with TIFF slices, one multi-page TIFF file, or one Zarr. Of a Zarr they are names of its
        channels, ``"."`` meaning all. Beside several TIFF slices a Zarr is left aside, and so are
        sub-directories with more slices than the directory, which notes say.
    samples : {"luminance", "channels"}, optional
        What to do with color in TIFF files, see `pystack3d_dask.io.tiff.stack.open_tiff`.

    Raises
    ------
    SourceError
        Naming what was expected, what was found, and everything wrong in the headers; also where
        a single TIFF file and a Zarr in one directory may both be the stack.
    """
    path = Path(path)
    _check_names(channels)
    try:
        if is_zarr(path):
            stack = open_zarr({".": path})
            return stack if set(channels) <= set(HERE) else stack.only(channels)
        if path.is_file() and not set(channels) <= set(HERE):
            msg = f'{path} is a file, which has no sub-directories; expected channels = ["."]'
            raise SourceError(msg)
        locations = {name: path if path.is_file() else path / name for name in channels}
        _check_links(path, locations.values())
        return _open(path, locations, samples)
    except OSError as error:
        msg = f"{error.filename or path}: {error.strerror or error}"
        raise SourceError(msg) from error


def folders_with_slices(path: Path) -> list[str]:
    """Return the sub-directories of a directory that may be channels, sorted by name.

    Those with TIFF files, and Zarrs. Hidden ones, those that cannot be read and ``process``,
    where results are, do not count.
    """
    return sorted(entry.name for entry in path.iterdir() if _has_slices(entry))


def _has_slices(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name == RESULTS:
        return False
    try:
        return is_zarr(folder) or _tiff_folder(folder) is not None
    except OSError:
        return False


def _check_names(channels: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(channels).items() if count > 1]
    outside = [name for name in channels if _leaves(name)]
    unprintable = [name for name in channels if not name.isprintable()]
    if not channels:
        msg = 'channels is empty; expected ["."] or names of sub-directories'
    elif repeated:
        msg = f"channels names {repeated[0]!r} more than once"
    elif outside:
        msg = f"channels names {outside[0]!r}, which is not inside the directory of the stack"
    elif unprintable:
        msg = f"channels names {unprintable[0]!r}, in which there are control characters"
    else:
        return
    raise SourceError(msg)


def _leaves(name: str) -> bool:
    path = PureWindowsPath(name)  # understands both kinds of separators
    return bool(path.anchor) or ".." in path.parts


def _check_links(path: Path, locations: Iterable[Path]) -> None:
    """Refuse directories of slices that are elsewhere; the slices themselves may be links."""
    for location in locations:
        is_folder = location.is_dir() and not is_zarr(location)
        real = Path(os.path.realpath(location if is_folder else location.parent))
        if location != path and not real.is_relative_to(os.path.realpath(path)):
            msg = (
                f"{location} leads to {real}, which is not inside the directory of the stack; "
                "make it a directory with links to the slices, or name where they are in "
                "project_dir"
            )
            raise SourceError(msg)


def _open(path: Path, locations: Mapping[str, Path], samples: Samples | None) -> Source:
    found = {name: _recognized(location) for name, location in locations.items()}
    missing = [locations[name] for name, match in found.items() if match is None]
    if missing:
        raise SourceError("\n  ".join([*map(_nothing_at, missing), *_hint(path)]))
    matches = {name: match for name, match in found.items() if match is not None}
    _check_single(path, [target for kind, target in matches.values() if kind.open is open_tiff])
    openers = {kind.open for kind, _ in matches.values()}
    if len(openers) > 1:
        kinds = "; ".join(f"{name!r} is {kind.label}" for name, (kind, _) in matches.items())
        msg = f"{path}: channels must be of one kind, TIFF or Zarr: {kinds}"
        raise SourceError(msg)
    stack = openers.pop()({name: target for name, (_, target) in matches.items()}, samples)
    notes = tuple(_left_aside(path, [target for _, target in matches.values()], stack))
    return replace(stack, notes=(*stack.notes, *notes)) if isinstance(stack, TiffStack) else stack


def _check_single(path: Path, folders: Iterable[Path]) -> None:
    """Refuse a directory in which one TIFF file and a Zarr may both be the stack."""
    for folder in folders:
        zarrs = _zarrs(folder)
        names = tiff_names(folder) if zarrs else []
        if len(names) == 1:
            expected = " or ".join(
                f"channels = {json.dumps([(folder / name).relative_to(path).as_posix()])}"
                for name in (*names, *zarrs)
            )
            msg = (
                f"{folder} holds a TIFF file, {names[0]}, and a Zarr, {zarrs[0]}, and each may be "
                f"the stack: move one elsewhere, or choose by {expected}"
            )
            raise SourceError(msg)


def _left_aside(path: Path, folders: Sequence[Path], stack: Source) -> Iterator[str]:
    """Yield which stacks beside the one that is opened are not taken."""
    for folder in folders:
        zarrs = _zarrs(folder)
        if zarrs:
            aside = listed(zarrs, SHOWN)
            yield f"{folder} holds TIFF slices, which are taken, and {aside}, left aside"
    if path not in folders or not path.is_dir() or len(stack.channels) > 1:
        return
    count = stack.specs[0].shape[0]
    larger = {name: n for name in _sub_folders(path) if (n := _count(path / name)) > count}
    if larger:
        found = listed([f"{name} ({n})" for name, n in larger.items()], SHOWN)
        yield (
            f"{path} itself is taken for the stack, with {count} slices; its sub-directories "
            f"{found} hold more: channels = {json.dumps(list(larger))} takes these"
        )


def _zarrs(folder: Path) -> list[str]:
    """Return the names of the Zarrs in a directory, without hidden ones."""
    return [name for name in _sub_folders(folder) if is_zarr(folder / name)]


def _sub_folders(folder: Path) -> list[str]:
    if not folder.is_dir() or is_zarr(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _count(folder: Path) -> int:
    """Return how many TIFF slices a directory holds, by its names only; 0 if it is refused."""
    try:
        return sum(name.lower().endswith(SUFFIXES) for name in os.listdir(folder))
    except OSError:
        return 0


def _recognized(location: Path) -> tuple[Kind, Path] | None:
    for kind in KINDS:
        target = kind.find(location)
        if target is not None:
            return kind, target
    return None


def _nothing_at(location: Path) -> str:
    if not location.exists():
        return f"{location}: it does not exist, or is a link that leads nowhere"
    expected = ", ".join(kind.label for kind in KINDS)
    names = sorted(os.listdir(location)) if location.is_dir() else [location.name]
    found = listed([*map(repr, names)], SHOWN) or "nothing"
    return f"{location}: no slices; expected {expected}; found {found}"


def _hint(path: Path) -> list[str]:
    """Suggest the sub-directories that do hold slices."""
    if not path.is_dir():
        return []
    folders = folders_with_slices(path)
    return [f"did you mean channels = {json.dumps(folders)}?"] if folders else []


def _zarr(location: Path) -> Path | None:
    return location if is_zarr(location) else None


def _tiff_file(location: Path) -> Path | None:
    is_tiff = location.suffix.lower() in SUFFIXES and location.is_file()
    return location if is_tiff else None


def _tiff_folder(location: Path) -> Path | None:
    return location if location.is_dir() and tiff_names(location) else None


def _zarr_inside(location: Path) -> Path | None:
    found = [path for path in location.iterdir() if is_zarr(path)] if location.is_dir() else []
    return found[0] if len(found) == 1 else None


def _open_zarr(locations: Mapping[str, Path], samples: Samples | None) -> Source:
    return open_zarr(locations)


KINDS = (
    Kind("a Zarr array or OME-Zarr image", _zarr, _open_zarr),
    Kind("a TIFF file", _tiff_file, open_tiff),
    Kind("a directory of *.tif or *.tiff files", _tiff_folder, open_tiff),
    Kind("a directory with one Zarr", _zarr_inside, _open_zarr),
)

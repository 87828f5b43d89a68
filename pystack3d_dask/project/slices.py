"""The slices of a project, opened as its settings say."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pystack3d_dask.errors import HeadersError, Problem, SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.io.tiff.stack import TiffStack, report
from pystack3d_dask.io.wrappers.content import by_content
from pystack3d_dask.io.wrappers.mended import Mended
from pystack3d_dask.io.wrappers.scaled import Scaled, check_voxel_size, doubt_size
from pystack3d_dask.io.wrappers.scan import Scan, scan, without_unreadable
from pystack3d_dask.project.record import Workspace
from pystack3d_dask.project.settings import Settings


def open_slices(directory: Path, settings: Settings, problems: list[Problem]) -> Source | None:
    """Return the slices that the settings choose; None, and why, where they cannot be opened."""
    try:
        source = open_source(directory, channels=settings.channels, samples=settings.samples)
        problems += [Problem("", note, "note") for note in source.notes]
        source = _selected_slices(source, settings, problems)
        _check_faults(source, settings)
        source = by_content(source) if settings.fingerprint == "content" else source
        return _scaled(source, settings, problems)
    except HeadersError as error:
        problems.append(Problem(str(directory), str(error)))
    except SourceError as error:
        problems.append(Problem("channels", str(error)))
    return None


def _check_faults(source: Source, settings: Settings) -> None:
    """Refuse slices that cannot be read, as their headers show, unless they may be bad.

    Raises
    ------
    SourceError
        Naming the files.
    """
    if settings.bad_slices == "fail" and isinstance(source, TiffStack) and source.faults:
        what_to_do = 'bad_slices = "interpolate", "keep" or "drop" goes without such slices'
        msg = f"{report(source.faults)}\n  {what_to_do}"
        raise SourceError(msg)


def _selected_slices(source: Source, settings: Settings, problems: list[Problem]) -> Source:
    count = source.specs[0].shape[0]
    last = count - 1 if settings.ind_max is None else min(settings.ind_max, count - 1)
    first = max(settings.ind_min, 0)
    if first > last:
        upper = "not set" if settings.ind_max is None else settings.ind_max
        problems.append(
            Problem(
                "ind_min",
                f"no slice is kept: ind_min = {settings.ind_min}, ind_max = {upper}, "
                f"and there are {count} slices, 0 to {count - 1}",
            )
        )
        return source  # to check the corrections with
    return source if (first, last) == (0, count - 1) else source.selected(first, last + 1)


def _scaled(source: Source, settings: Settings, problems: list[Problem]) -> Source:
    """Return the source with voxels of the size that is given, if one is."""
    if settings.voxel_size is None:
        return source
    try:
        size = check_voxel_size(settings.voxel_size)
    except ValueError as error:
        problems.append(Problem("voxel_size", str(error)))
        return source
    problems += [
        Problem("voxel_size", doubt, "warning") for doubt in doubt_size(size, source.specs[0])
    ]
    given = Scaled(source, size, max(settings.ind_min, 0))
    problems += [Problem("voxel_size", note, "warning") for note in given.contradictions()]
    return given


def mended_slices(
    source: Source, settings: Settings, workspace: Workspace, problems: list[Problem]
) -> tuple[Source, Scan | None]:
    """Return the source without unreadable slices, and those, or with what stands in for them."""
    if settings.bad_slices == "fail":
        return source, None
    if settings.bad_slices != "drop":
        return Mended(source, settings.bad_slices), None
    found = _scanned(source, workspace)
    try:
        left = without_unreadable(source, found)
    except SourceError as error:
        problems.append(Problem("bad_slices", str(error)))
        return source, None
    if found.slices:
        message = (
            f"{len(found.slices)} of {len(source.names)} slices cannot be read and are left out: "
            f"{source.specs[0].listed(found.slices)}"
        )
        problems.append(Problem("bad_slices", message, "warning"))
    return left, found


def _scanned(source: Source, workspace: Workspace) -> Scan:
    """Return which slices cannot be read, from the file that remembers it if there is one."""
    found = Scan.load(workspace.scan, source.fingerprint)
    if found is None:
        found = scan(source)
        if workspace.work.is_dir():
            with suppress(OSError):  # it may be somebody else's
                found.save(workspace.scan)
    return found

"""Places that exports must not go to: where they would be input of the next run, or damage it."""

from __future__ import annotations

from pathlib import Path

from pystack3d_dask.errors import ExportError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.tiff.stack import TiffStack
from pystack3d_dask.io.wrappers.mended import acquisition
from pystack3d_dask.io.zarr.source import is_zarr
from pystack3d_dask.project.project import Project


def check_place(project: Project, folder: Path) -> None:
    """Refuse to write files into a directory that slices are taken from.

    Parameters
    ----------
    project : Project
        Whose slices these are.
    folder : Path
        Directory that the files, or the Zarr, would be in; it need not exist.

    Raises
    ------
    ExportError
        When it holds slices of the source, is the directory of the project or of a channel,
        whatever the source is, or is inside a Zarr.
    """
    real, source = folder.resolve(), project.source
    instead = f"choose another directory, such as {_free(project)}"
    around = _zarr_around(project, real)
    if real in source_paths(source):
        msg = (
            f"{folder} holds the slices of the source, such as {source.names[0]}, which would be "
            f"lost or mixed with those of the result; {instead}"
        )
    elif real in _inputs(project):
        msg = (
            f"{folder} is where slices of the project are looked for: what is exported there "
            f"would be taken for the source by the next run; {instead}"
        )
    elif around is not None:
        msg = f"{folder} is inside the Zarr {around}, which would be damaged; {instead}"
    else:
        return
    raise ExportError(msg)


def source_paths(source: Source) -> set[Path]:
    """Return where a source is, links resolved: directories of TIFF files, or of Zarr arrays."""
    return {path.resolve() for path in _paths(source)}


def _paths(source: Source) -> list[Path]:
    source = acquisition(source)
    if isinstance(source, TiffStack):
        return [Path(files.folder) for files in source.files]
    return [Path(array.path) for array in getattr(source, "arrays", ())]


def _inputs(project: Project) -> set[Path]:
    """Return the directories in which slices are looked for: the project's, and of channels."""
    directory = _directory(project)
    inside = (
        parent
        for path in _paths(project.source)
        for parent in path.parents
        if parent.is_relative_to(directory)
    )
    return {each.resolve() for each in (directory, *inside)}


def _zarr_around(project: Project, folder: Path) -> Path | None:
    """Return the Zarr that a directory is or is inside of, unless the project is, too."""
    own = _directory(project).resolve()
    return next(
        (
            each
            for each in (folder, *folder.parents)
            if is_zarr(each) and not own.is_relative_to(each)
        ),
        None,
    )


def _free(project: Project) -> Path:
    """Return a directory beside the project that does not exist yet."""
    directory, number = _directory(project), 1
    free = directory.with_name(f"{directory.name}_exported")
    while free.exists():
        number += 1
        free = directory.with_name(f"{directory.name}_exported_{number}")
    return free


def _directory(project: Project) -> Path:
    return project.workspace.process.parent

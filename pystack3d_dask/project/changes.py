"""Which slices are not those that the last run began with."""

from __future__ import annotations

import json

from pystack3d_dask.core.formatting import listed
from pystack3d_dask.io.zarr.chunk import replacing
from pystack3d_dask.project.project import Project

SHOWN = 5


def changed_slices(project: Project) -> str | None:
    """Return which slices were replaced, added or removed since the last run began.

    Returns
    -------
    str
        A sentence with their names; None when there are none, or there was no run.
    """
    before, now = _remembered(project), project.source.contents
    if before is None:
        return None
    kinds = {
        "replaced": sorted(
            name for name in now.keys() & before.keys() if now[name] != before[name]
        ),
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
    }
    found = ", ".join(f"{listed(names, SHOWN)} {kind}" for kind, names in kinds.items() if names)
    if not found:
        return None
    return f"slices changed since the last run: {found}; all that depends on them is computed again"


def remember_slices(project: Project) -> None:
    """Keep what the slices are, to tell later what has changed."""
    if _remembered(project) != project.source.contents:
        with replacing(project.workspace.contents) as file:
            file.write(json.dumps(project.source.contents).encode())


def _remembered(project: Project) -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads(project.workspace.contents.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found

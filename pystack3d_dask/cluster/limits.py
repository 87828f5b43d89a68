"""The limit of open files."""

from __future__ import annotations

import sys
from math import inf

from pystack3d_dask.core.formatting import counted
from pystack3d_dask.errors import RoomError

HANDLES, HANDLES_PER_WORKER = 64, 12  # of open files; measured: 21 and 10, and stores need some


def check_handles(workers: int) -> None:
    """Raise the limit of open files to what a scheduler with so many workers takes.

    Without a handle for it, a connection is not refused, but waits for ever.

    Raises
    ------
    RoomError
        When this user may not have as many.
    """
    if sys.platform == "win32":
        return
    import resource

    needed = HANDLES + HANDLES_PER_WORKER * workers
    least, most = (_or_infinite(each) for each in resource.getrlimit(resource.RLIMIT_NOFILE))
    if most < needed:
        message = (
            f"a cluster with {counted(workers, 'worker')} takes {needed} open files, and "
            f"this process may have {most:.0f}; raise the limit (ulimit -n), or use fewer workers"
        )
        raise RoomError(message)
    if least < needed:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _or_infinite(limit: int) -> float:
    import resource

    return inf if limit == resource.RLIM_INFINITY else limit

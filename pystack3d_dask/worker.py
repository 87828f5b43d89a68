"""What a worker process does before its first block.

Workers that `cluster.local` starts do this by themselves; others when they are started with
``dask worker --preload pystack3d_dask.worker``. Without it they work, but start the first block
and stop later.
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module
from typing import Any


def dask_setup(worker: Any) -> None:
    """Prepare this process; dask calls it when a worker starts.

    Parameters
    ----------
    worker : distributed.Worker
        The worker.
    """
    import_module("pystack3d_dask.engine.task")  # what the first block would wait for

    atexit.register(gc.freeze)  # else the interpreter looks through all that it ever imported

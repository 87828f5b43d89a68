"""The GPUs of this machine, found by CuPy: what it cannot use is of no use here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping

from pystack3d_dask.errors import DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"  # what a process, and those that it starts, may use
PROBE = "import cupy; print(cupy.cuda.runtime.getDeviceCount())"
PATIENCE = 120  # seconds for CuPy to be imported, from a slow file system too


def find_gpus(wanted: str = "auto") -> tuple[str, ...]:
    """Return the GPUs that workers are to be started for.

    Parameters
    ----------
    wanted : str
        ``"auto"`` for all that CuPy finds, none without CuPy; ``"none"``; or some of them,
        separated by commas, as ``CUDA_VISIBLE_DEVICES`` names them. These are not looked for.

    Returns
    -------
    tuple of str
        A value of ``CUDA_VISIBLE_DEVICES`` for each.

    Raises
    ------
    DeviceError
        When it is none of these.
    """
    if wanted == "auto":
        return visible_gpus()
    if wanted == "none":
        return ()
    named = tuple(name.strip() for name in wanted.split(","))
    if not all(named) or len(set(named)) < len(named):
        message = f"auto, none, or GPUs such as 0,1, each once, expected, found {wanted!r}"
        raise DeviceError(message)
    return named


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs that CuPy finds; it is asked in a process of its own.

    In this one CuPy would hold on to a GPU that workers are to have.
    """
    if importlib.util.find_spec("cupy") is None:
        return ()
    try:
        asked = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=dict(environment),
            check=True,
        )
        count = int(asked.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return ()  # no driver, or a CuPy that does not go with it
    named = environment.get(VISIBLE)
    every = named.split(",") if named else [str(number) for number in range(count)]
    return tuple(name.strip() for name in every[:count])

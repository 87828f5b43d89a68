"""Run the reference program (PyStack3D) on a project and read what it wrote.

The reference is a black box in a process group of its own: after an error it
may hang for ever, so the group is killed when its time is up.  This module
itself needs neither the reference nor any of its dependencies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

# The directory is given, not the file (`Stack3d("params.toml")` is a NameError).
# Figures are left out: they are slow, and the one drawn after a 2D background
# is an IndexError; no number depends on them.  Top-level keys that are needed
# get their usual values (not `channels`, read before).  The process leaves by
# force, because after an error it may wait for ever at its exit.
_PROGRAM = """
import os, sys, traceback
os.environ["MPLBACKEND"] = "Agg"
status = 1
try:
    from pystack3d import stack3d
    stack3d.plot = lambda *args, **kwargs: None
    stack = stack3d.Stack3d(sys.argv[1])
    for key, value in dict(ind_min=0, ind_max=99999, history=[]).items():
        stack.params.setdefault(key, value)
    stack.eval(nproc=1, serial=True, show_pbar=False)
    status = 0
except BaseException:
    traceback.print_exc()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
"""


def run_reference(project: Path, timeout: float = 120) -> None:
    """Run every step of a project with the reference, serially and without figures.

    Steps named in the project's ``history`` are skipped by the reference, which
    appends to it and rewrites the parameter file.

    Parameters
    ----------
    project : Path
        Directory with one ``*.toml`` file and the slices (``*.tif`` only), or
        one sub-directory of slices per channel.
    timeout : float, optional
        Seconds after which the reference and its children are killed.

    Raises
    ------
    RuntimeError
        If it fails or does not end in time; the message holds its output.
    """
    # A file, not a pipe: a surviving grandchild could keep a pipe open.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(project)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            outcome = f"exit status {process.wait(timeout)}"
        except subprocess.TimeoutExpired:
            outcome = f"no end after {timeout} s"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        if outcome != "exit status 0":
            log.seek(0)
            message = f"reference on {project}: {outcome}\n{log.read()}"
            raise RuntimeError(message)


def output_slices(project: Path, step: str, channel: str = ".") -> np.ndarray:
    """Return the slices a step wrote, as an array (z, y, x) in order of name."""
    paths = sorted((Path(project) / "process" / step / channel).glob("*.tif"))
    return np.stack([tifffile.imread(path) for path in paths])


def output_array(project: Path, step: str, name: str, channel: str = ".") -> np.ndarray:
    """Return an array that a step wrote beside its slices, for instance ``factors.npy``.

    ``tmats.npy`` (registration_calculation) lies in the channel's directory,
    all others in its ``outputs``.
    """
    directory = Path(project) / "process" / step / channel
    return np.load(directory / name if name == "tmats.npy" else directory / "outputs" / name)


def reference_stats(project: Path, step: str, channel: str = ".") -> np.ndarray:
    """Return (slice, stage, figure): stages before, after, cast; figures min, max, mean."""
    return output_array(project, step, "stats.npy", channel)


def reference_coefs(
    project: Path, step: str = "bkg_removal", channel: str = "."
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients (slice, term) and the exponents (term, axis) in x, y(, z).

    A 3D fit repeats the same coefficients for every slice; with ``preserve_avg``
    its constant is minus the mean background over the samples.
    """
    with np.load(Path(project) / "process" / step / channel / "outputs" / "coefs.npz") as file:
        return file["coefs"], file["powers"]

"""Programs that correct a stack: this package, PyStack3D, and public alternatives.

Each takes an `Acquired` and an empty directory, and returns what it made, a `Corrected`. All are
commands in processes of their own; seconds are those of the commands, without the writing of the
slices before and the reading of the result after them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import tomlkit

from pystack3d_dask import open_result
from pystack3d_dask.corrections.positions import POLICY, parse_position
from pystack3d_dask.demo import VOXEL_SIZE
from ruler import peers
from ruler.acquired import Acquired, Corrected
from ruler.interpolation import Interpolation
from ruler.peers import PEERS, MissingPeer

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from reference import output_slices, run_reference

README = Path(__file__).parents[2] / "README.md"
PARAMS = "params.toml"
CROPPING = "cropping"
TRANSFORMATION = "registration_transformation"
RESAMPLING = "resampling"

ALONE: Mapping[str, tuple[str, ...]] = {
    "bkg_removal": ("bkg_removal",),
    "intensity_rescaling": ("intensity_rescaling",),
    "registration": ("registration_calculation", TRANSFORMATION),
    "destriping": ("destriping",),
    "resampling": ("resampling",),
}
"""Corrections that are tried alone, and their steps."""

ALL = "all"
"""Name for the defects that a whole chain mends."""

OUR_STEPS = ("slice_check", "slice_repair")
"""Corrections that PyStack3D does not have."""

OURS_ONLY: Mapping[str, tuple[str, ...]] = {
    "bkg_removal": ("method",),
    "intensity_rescaling": ("method", "anchor"),
    "registration_calculation": ("method",),
}
"""Parameters of the README that PyStack3D does not know."""

THEIRS_ONLY: Mapping[str, Mapping[str, Any]] = {
    "bkg_removal": {"orders": [2, 2, 0], "cross_terms": True, "skip_factors": [4, 4, 4]},
    "intensity_rescaling": {"nbins": 256, "filter_size": 10},
    "registration_calculation": {"nb_blocks": [1, 1]},
    "resampling": {"policy": POLICY},
}
"""Parameters that PyStack3D cannot do without; ours by default."""

LIMIT = 3600.0
"""Seconds after which PyStack3D is taken to hang."""


@dataclass(frozen=True)
class Program:
    """A program, as it is run to correct a stack.

    Parameters
    ----------
    name : str
        For the table.
    mends : str
        A correction, see `ALONE`, or `ALL`.
    write : callable
        Writes an acquisition to a directory.
    run : callable
        Corrects what is in the directory, and returns the seconds that this took.
    read : callable
        Returns what is in the directory then; its argument is followed by the seconds.
    """

    name: str
    mends: str
    write: Callable[[Acquired, Path], None]
    run: Callable[[Path], float]
    read: Callable[[Path, float], Corrected]

    def __call__(self, acquired: Acquired, directory: Path) -> Corrected:
        """Correct an acquisition.

        Parameters
        ----------
        acquired : Acquired
            What the program gets to see of it: slices and depths.
        directory : Path
            A new or an empty directory.

        Raises
        ------
        MissingPeer
            When the program is not installed.
        RuntimeError
            When it fails; the message holds what it printed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.write(acquired, directory)
        return self.read(directory, self.run(directory))


def execute(command: Sequence[str | Path]) -> float:
    """Run a command and return the seconds that it took.

    Raises
    ------
    MissingPeer
        When it says by its exit status that a package is not installed.
    RuntimeError
        When it fails.
    """
    started = time.perf_counter()
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    seconds = time.perf_counter() - started
    if ended.returncode == peers.MISSING:
        raise MissingPeer(ended.stderr.strip())
    if ended.returncode:
        words = " ".join(map(str, command))
        message = f"{words} failed with status {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        raise RuntimeError(message)
    return seconds


def write_slices(acquired: Acquired, directory: Path) -> None:
    """Write a TIFF for each slice, with its position in its name and the size of its pixels."""
    per_cm = 1e4 / VOXEL_SIZE
    for k, (depth, image) in enumerate(zip(acquired.depths, acquired.slices, strict=True)):
        tifffile.imwrite(
            directory / f"slice_{k:04d}_z={depth * VOXEL_SIZE:.6f}um.tif",
            image,
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            metadata=None,
        )


def params_of(project: Path) -> dict[str, Any]:
    """Return the parameters of a project."""
    return tomllib.loads((project / PARAMS).read_text(encoding="utf-8"))


def write_params(project: Path, params: Mapping[str, Any]) -> None:
    """Write the parameters of a project."""
    (project / PARAMS).write_text(tomlkit.dumps(params), encoding="utf-8")


def readme_params() -> dict[str, Any]:
    """Return the parameters of the README, but not its cropping, which is for slices of its own."""
    text = README.read_text(encoding="utf-8")
    blocks = map(tomllib.loads, re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    params = next(block for block in blocks if "process_steps" in block)
    steps = [step for step in params["process_steps"] if step != CROPPING]
    return {**params, "process_steps": steps}


def ours(command: str, project: Path, *options: str) -> float:
    """Run a command of this package on a project, and return its seconds."""
    return execute([sys.executable, "-m", "pystack3d_dask", command, project, *options])


def correct(project: Path) -> float:
    """Run this package with the parameters of a project, in one process."""
    return ours("run", project, "--workers", "0", "--no-report")


def init_and_correct(project: Path) -> float:
    """Have this package choose the parameters, and run it with them."""
    return ours("init", project) + correct(project)


def correct_alone(steps: Sequence[str], project: Path) -> float:
    """Run some steps with the parameters that ``init`` writes; the time of ``init`` is no part."""
    ours("init", project)
    write_params(project, {**params_of(project), "process_steps": list(steps)})
    return correct(project)


def correct_as_readme(project: Path) -> float:
    """Run this package with the parameters of the README."""
    write_params(project, readme_params())
    return correct(project)


def read_ours(project: Path, seconds: float) -> Corrected:
    """Return the result of this package."""
    result = open_result(project).isel(c=0)
    params = params_of(project)
    return Corrected(
        images=np.asarray(result.values, np.float32),
        depths=result.z.values / VOXEL_SIZE,
        top=round(float(result.y[0]) / VOXEL_SIZE),
        left=round(float(result.x[0]) / VOXEL_SIZE),
        steps=tuple(params["process_steps"]),
        seconds=seconds,
        interpolation=interpolation_of(params),
    )


def interpolation_of(params: Mapping[str, Any]) -> Interpolation:
    """Return how a program interpolates with some parameters: linearly, unless they say else."""
    found = []
    for step in (TRANSFORMATION, RESAMPLING):
        scheme = params.get(step, {}).get("interpolation", "linear")
        scheme = "linear" if scheme == "bilinear" else scheme
        found.append(scheme if step in params["process_steps"] else "whole")
    return Interpolation(*found)


def reference_params(steps: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the README for some steps, as PyStack3D takes them."""
    found = readme_params()
    steps = [step for step in steps if step not in OUR_STEPS]
    tables = {step: {**found[step], **THEIRS_ONLY.get(step, {})} for step in steps}
    for step, table in tables.items():
        for name in OURS_ONLY.get(step, ()):
            del table[name]
    return {"channels": found["channels"], "process_steps": steps, **tables}


def correct_by_reference(project: Path, steps: Sequence[str] | None = None) -> float:
    """Run PyStack3D with the parameters of the README.

    Parameters
    ----------
    project : Path
        The slices.
    steps : sequence of str, optional
        What to run; what the README runs, by default.

    Raises
    ------
    MissingPeer
        When it is not installed.
    """
    if find_spec("pystack3d") is None:
        message = "pystack3d is not installed, see benchmarks/peers.txt"
        raise MissingPeer(message)
    write_params(project, reference_params(steps or readme_params()["process_steps"]))
    started = time.perf_counter()
    run_reference(project, timeout=LIMIT)
    return time.perf_counter() - started


def read_reference(project: Path, seconds: float) -> Corrected:
    """Return the result of PyStack3D."""
    params = params_of(project)
    steps = tuple(params["process_steps"])
    names = sorted(path.name for path in (project / "process" / steps[-1]).glob("*.tif"))
    top, left = origin_of_reference(project) if TRANSFORMATION in steps else (0, 0)
    return Corrected(
        images=np.asarray(output_slices(project, steps[-1]), np.float32),
        depths=np.array([parse_position(name, POLICY) for name in names]) / VOXEL_SIZE,
        top=top,
        left=left,
        steps=steps,
        seconds=seconds,
        interpolation=interpolation_of(params),
    )


def origin_of_reference(project: Path) -> tuple[int, int]:
    """Return the row and column of the first slice that PyStack3D kept after registration."""
    outputs = project / "process" / TRANSFORMATION / "outputs"
    top, _, left, _ = np.loadtxt(outputs / "inds_crop.txt").astype(int)
    return int(top), int(left)


def write_arrays(acquired: Acquired, directory: Path) -> None:
    """Write slices and depths for `correct_by_peer` and `read_peer`."""
    np.save(directory / "slices.npy", acquired.slices)
    np.save(directory / "depths.npy", acquired.depths)


def correct_by_peer(name: str, directory: Path) -> float:
    """Run a public program on the slices of a directory."""
    # -P: modules beside the file are no packages that peers could import
    files = [directory / "slices.npy", directory / "corrected.npy"]
    return execute([sys.executable, "-P", peers.__file__, name, *files])


def read_peer(name: str, directory: Path, seconds: float) -> Corrected:
    """Return the result of a public program, which leaves slices where they are."""
    return Corrected(
        images=np.load(directory / "corrected.npy"),
        depths=np.load(directory / "depths.npy"),
        top=0,
        left=0,
        steps=(name,),
        seconds=seconds,
    )


OURS = (
    Program("init", ALL, write_slices, init_and_correct, read_ours),
    Program("README", ALL, write_slices, correct_as_readme, read_ours),
    *(
        Program(f"{name} alone", name, write_slices, partial(correct_alone, steps), read_ours)
        for name, steps in ALONE.items()
    ),
)

REFERENCE = tuple(
    Program(name, mends, write_slices, partial(correct_by_reference, steps=steps), read_reference)
    for name, mends, steps in (
        ("PyStack3D", ALL, None),
        *((f"PyStack3D {name} alone", name, steps) for name, steps in ALONE.items()),
    )
)

PUBLIC = tuple(
    Program(
        peer.name,
        peer.mends,
        write_arrays,
        partial(correct_by_peer, peer.name),
        partial(read_peer, peer.name),
    )
    for peer in PEERS
)

PROGRAMS: Mapping[str, Program] = {each.name: each for each in (*OURS, *REFERENCE, *PUBLIC)}
"""All programs by name."""

"""Time this program beside PyStack3D on the same slices, turn by turn, start-up included.

    python benchmarks/compare_pystack3d.py --slices 96 --size 2000 --workers 2 --rounds 3

Prints, for each step alone and for the chain: seconds of both programs (the median of the
rounds), their ratio, the largest resident size of any one process, and how the results
agree. Both run in precision "source", PyStack3D's only one. Needs ``pip install
pystack3d==2026.2``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tifffile

from pystack3d_dask import open_result
from pystack3d_dask.demo import DemoStack

SOURCE_SIZE = 2.112  # PyStack3D's published case crops 4224 pixels to 2000
REFERENCE = """
import matplotlib
matplotlib.use("Agg")
from pystack3d import Stack3d
if __name__ == "__main__":
    Stack3d(".").eval(show_pbar=False)
"""


@dataclass(frozen=True)
class Case:
    """A chain of steps to time.

    Parameters
    ----------
    name : str
        For the table.
    steps : tuple of str
        The chain.
    """

    name: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What a program took: seconds, and MiB of its largest process."""

    seconds: float
    peak: float


CASES = (
    Case("cropping", ("cropping",)),
    Case("cropping, bkg_removal", ("cropping", "bkg_removal")),
    Case("cropping, intensity_rescaling", ("cropping", "intensity_rescaling")),
    Case("cropping, intensity_rescaling_area", ("cropping", "intensity_rescaling_area")),
    Case("the chain", ("cropping", "bkg_removal", "intensity_rescaling")),
)


def params(case: Case, source: int, size: int, slices: int, workers: int) -> str:
    """Return the parameters of a case for both programs."""
    margin = (source - size) // 2
    inside = size // 4
    return f"""
channels = ["."]
ind_min = 0
ind_max = {slices - 1}
nproc = {workers}
history = []
process_steps = {json.dumps(case.steps)}
[cropping]
area = [{margin}, {margin + size}, {margin}, {margin + size}]
[bkg_removal]
dim = 3
orders = [1, 2, 1]
cross_terms = true
skip_factors = [10, 10, 10]
threshold_min = 2
preserve_avg = true
[intensity_rescaling]
nbins = 256
filter_size = -1
[intensity_rescaling_area]
area = [{inside}, {size - inside}, {inside}, {size - inside}]
"""


def timed(command: Sequence[str], directory: Path) -> Measured:
    """Run a command and follow the memory of its processes."""
    started = time.perf_counter()
    process = psutil.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    peak = 0.0
    while process.poll() is None:
        for each in family(process):
            try:
                peak = max(peak, each.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    if process.returncode:
        message = f"{command} failed:\n{process.stdout.read().decode()}"
        raise RuntimeError(message)
    return Measured(seconds, peak)


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and those that it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def linked(slices: Path, directory: Path, text: str) -> Path:
    """Make a project whose slices are links."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path in slices.iterdir():
        (directory / path.name).symlink_to(path)
    (directory / "params.toml").write_text(text)
    return directory


def agreement(theirs: Path, ours: Path, last_step: str) -> str:
    """Return how the results differ, over all pixels."""
    result = open_result(ours)[0]
    largest, equal, count = 0, 0, 0
    for z, path in enumerate(sorted((theirs / "process" / last_step).glob("*.tif"))):
        difference = np.abs(tifffile.imread(path).astype(int) - result[z].values)
        largest = max(largest, int(difference.max()))
        equal += int(np.count_nonzero(difference == 0))
        count += difference.size
    return f"{equal / count:.4%} equal, at most {largest} apart"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--size", type=int, default=2000, help="pixels after cropping")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source = round(options.size * SOURCE_SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slices = folder / "slices"
        slices.mkdir()
        stack = DemoStack(shape=(options.slices, source, source))
        for z in range(options.slices):
            stack.write_slice(slices, z)
        print(f"{options.slices} slices, {source} -> {options.size} px, {options.workers} workers")
        for case in CASES:
            text = params(case, source, options.size, options.slices, options.workers)
            compare(case, slices, folder, text, options)


def compare(case: Case, slices: Path, folder: Path, text: str, options: argparse.Namespace) -> None:
    """Run a case with both programs in turn, and print a line."""
    command = [sys.executable, "-m", "pystack3d_dask", "run", ".", "--workers"]
    theirs: list[Measured] = []
    ours: list[Measured] = []
    for _ in range(options.rounds):
        one = linked(slices, folder / "theirs", text)
        (one / "reference.py").write_text(REFERENCE)
        theirs.append(timed([sys.executable, "reference.py"], one))
        two = linked(slices, folder / "ours", 'precision = "source"\n' + text)
        ours.append(timed([*command, str(options.workers)], two))
    a, b = (statistics.median(m.seconds for m in runs) for runs in (theirs, ours))
    print(
        f"{case.name:36} {a:7.2f} s {b:7.2f} s  x{a / b:5.1f}   "
        f"{max(m.peak for m in theirs):5.0f} {max(m.peak for m in ours):5.0f} MiB   "
        f"{agreement(one, two, case.steps[-1])}",
        flush=True,
    )


if __name__ == "__main__":
    main()

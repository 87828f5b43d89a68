"""Score this program and PyStack3D against the truth, on the same slices and parameters.

    python benchmarks/truth.py --seeds 10 --slices 16 --size 320

Stacks are those of `pystack3d_dask.demo` with all defects but lost slices, porous and cellular
in turn. Prints, for each seed, the root mean square distance to the truth in gray levels,
after the best linear fit of gray levels for the whole stack: of the slices as they are, of
PyStack3D's result, of ours.

Read the count with the size in mind. Most of the distance is drift: registration takes
slanted structures for motion, both programs alike, and what rounding does to it decides
between them. Of ten stacks ours was nearer on 4 with 24 slices of 128 pixels, on 8 with 24 of
256, on 9 with 16 of 320, where less drift adds up; the means were 15.79 (theirs) and 15.77,
11.32 and 11.28, 10.08 and 10.05. The demo's 64 bins cost PyStack3D a little too, which gives
each pixel the center of its bin: with 256 bins it was 2 of the first 4 at 256 pixels, not 4.

Needs ``pip install pystack3d==2026.2``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tomllib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import tifffile

from pystack3d_dask import open_result
from pystack3d_dask.corrections.positions import POLICY, parse_position
from pystack3d_dask.demo import DemoStack, score, score_result
from pystack3d_dask.pipeline import Pipeline

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from reference import run_reference

MISSING = {
    "[registration_calculation]": "nb_blocks = [1, 1]",
    "[resampling]": f'policy = "{POLICY}"',
}
"""Parameters that PyStack3D cannot do without; ours by default."""


@dataclass(frozen=True)
class Scores:
    """Root mean square distances to the truth, in gray levels."""

    before: float
    theirs: float
    ours: float


def compare(stack: DemoStack, directory: Path) -> Scores:
    """Run both programs on a stack and score what they make of it.

    Parameters
    ----------
    stack : DemoStack
        The stack.
    directory : Path
        An empty directory for slices and results.
    """
    ours, theirs = stack.write(directory / "ours"), stack.write(directory / "theirs")
    for project in (ours, theirs):
        file = project / "params.toml"
        text = file.read_text(encoding="utf-8")
        for table, line in MISSING.items():
            text = text.replace(table, f"{table}\n{line}")
        file.write_text(text, encoding="utf-8")
    Pipeline.from_toml(ours).run()
    run_reference(theirs, timeout=600)
    return Scores(
        before=score(stack.uncorrected(), stack.truth(stack.z)).rmse,
        theirs=score_of_reference(stack, theirs),
        ours=score_result(open_result(ours)[0], stack).rmse,
    )


def score_of_reference(stack: DemoStack, project: Path) -> float:
    """Return the distance to the truth of what PyStack3D made."""
    params = tomllib.loads((project / "params.toml").read_text(encoding="utf-8"))
    paths = sorted((project / "process" / params["process_steps"][-1]).glob("*.tif"))
    z = [parse_position(path.name, POLICY) for path in paths]
    slices = (tifffile.imread(path) for path in paths)
    return score_result(slices, stack, origin=origin_of_reference(stack, project, params), z=z).rmse


def origin_of_reference(stack: DemoStack, project: Path, params: dict) -> tuple[int, int]:
    """Return the row and column of the first slice that PyStack3D's result begins with."""
    first, last = params["cropping"]["area"], params["cropping_final"]["area"]
    outputs = project / "process" / "registration_transformation" / "outputs"
    top, bottom, left, _ = np.loadtxt(outputs / "inds_crop.txt").astype(int)
    # areas count rows from the bottom
    row = stack.shape[1] - first[3] + top + max(bottom - top - last[3], 0)
    return row, first[0] + left + last[0]


def demo(seed: int, slices: int = 16, size: int = 320) -> DemoStack:
    """Return the stack of a seed: porous if even, cellular if odd."""
    texture = "cellular" if seed % 2 else "porous"
    return DemoStack(shape=(slices, size, size), seed=seed, texture=texture)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--size", type=int, default=320)
    options = parser.parse_args()
    print(f"{'seed':>4}  {'texture':8} {'before':>7} {'PyStack3D':>10} {'ours':>7}")
    found = []
    for seed in range(options.seeds):
        stack = demo(seed, options.slices, options.size)
        with tempfile.TemporaryDirectory() as name:
            found.append(compare(stack, Path(name)))
        print(row(str(seed), stack.texture, found[-1]), flush=True)
    means = (float(np.mean(each)) for each in zip(*map(astuple, found), strict=True))
    print(row("mean", "", Scores(*means)))
    nearer = sum(each.ours < each.theirs for each in found)
    print(f"ours nearer to the truth in {nearer} of {len(found)}")


def row(seed: str, texture: str, found: Scores) -> str:
    """Return a row of the table."""
    return f"{seed:>4}  {texture:8} {found.before:7.2f} {found.theirs:10.2f} {found.ours:7.2f}"


if __name__ == "__main__":
    main()

"""The ``params.toml`` that mends the defects of a demonstration stack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.typing import Array, Triple
from pystack3d_dask.demo.defects import BACKGROUND_BASIS
from pystack3d_dask.demo.fields import VOXEL_SIZE

HEAD = """\
# Parameters of a demonstration stack, in PyStack3D's format.
channels = {channels}
ind_min = 0         # first slice to keep
ind_max = {last}        # last slice to keep
nproc = 2           # workers
history = []        # steps already done, for PyStack3D
process_steps = [
{steps}
]
"""

TABLES = {
    "cropping": """\
# xmin, xmax, ymin, ymax in pixels, origin bottom left: what surrounds the specimen goes.
area = {area}
""",
    "bkg_removal": """\
dim = 3                          # one polynomial over the whole stack
poly_basis = "{basis}"
skip_factors = {skip}         # the fit looks at one pixel in so many along x, y and z
threshold_min = 1                # pixels without signal take no part
preserve_avg = true              # keep the mean brightness
""",
    "intensity_rescaling": """\
nbins = 64          # bins of the histograms that are made equal: few, as slices are small
filter_size = {running_mean}    # slices in the running mean that a slice is matched to
""",
    "registration_calculation": """\
transformation = "TRANSLATION"   # of each slice against the one before
""",
    "registration_transformation": """\
cropping = true                  # keep what all the slices show
mode = "constant"
""",
    "destriping": """\
# A Gaussian as wide as a stripe and tens of pixels long; a higher level takes more, also of
# what stands upright in the specimen.
filters = [{{ name = "Gabor", noise_level = 2, sigma = [1, 30], theta = 0 }}]
maxit = 50
cvg_threshold = 1e-2
""",
    "resampling": """\
dz = {dz}           # micrometers between slices; where they lie stands in their names
""",
    "cropping_final": """\
# The outermost pixels, which other steps know from one side only.
area = {final_area}
""",
}
"""The steps that mend the defects, in the order in which they do, with their parameters."""


class Specimen(Protocol):
    """Properties that the parameters depend on, see `pystack3d_dask.demo.stack.DemoStack`."""

    @property
    def shape(self) -> Triple: ...
    @property
    def truth_shape(self) -> Triple: ...
    @property
    def view(self) -> tuple[slice, slice]: ...
    @property
    def shifts(self) -> Array: ...
    @property
    def feature(self) -> float: ...


def params_toml(stack: Specimen, channels: Sequence[str] = (".",)) -> str:
    """Return the text of the ``params.toml`` for a stack: all that this version can mend."""
    names = [name for name in TABLES if name in registry()]
    slices, rows, columns = stack.shape
    values = {
        "channels": json.dumps(list(channels), ensure_ascii=False),
        "last": slices - 1,
        "steps": "\n".join(f'    "{name}",' for name in names),
        "area": _area(stack),
        "basis": BACKGROUND_BASIS,
        "skip": [max(1, size // 64) for size in (columns, rows, slices)],
        "running_mean": min(slices, round(stack.feature / 2)),
        "dz": VOXEL_SIZE,
        "final_area": _final_area(stack, registered="registration_transformation" in names),
    }
    tables = [f"[{name}]\n{TABLES[name]}" for name in names]
    return "\n".join([HEAD, *tables]).format(**values)


def _area(stack: Specimen) -> list[int]:
    rows, columns = stack.view
    height = stack.shape[1]
    return [columns.start, columns.stop, height - rows.stop, height - rows.start]


def _final_area(stack: Specimen, *, registered: bool) -> list[int]:
    """Return what is left without a rim, after registration has cropped to the common part."""
    _, rows, columns = stack.truth_shape
    if registered:
        lost = stack.shifts.max(axis=0) - stack.shifts.min(axis=0)
        rows, columns = rows - round(lost[0]), columns - round(lost[1])
    rim = max(2, min(rows, columns) // 64)
    return [rim, columns - rim, rim, rows - rim]

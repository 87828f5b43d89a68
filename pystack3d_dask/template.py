"""The commented ``params.toml`` that ``init`` writes, filled from the slices."""

from __future__ import annotations

import json
from pathlib import Path

from pystack3d_dask.config import PARAMS_NAME
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import find_channels, open_source

SAMPLES = 16  # at least, along each axis, for the fit of a background

TEMPLATE = """\
# Parameters of pystack3d-dask. {summary}

channels = {channels}
ind_min = 0                     # first slice kept
ind_max = {last:<21} # last slice kept

# The corrections, in this order; each may stand anywhere, once, or be left out.
process_steps = [
    "cropping",
    "bkg_removal",
    "intensity_rescaling",
    # "intensity_rescaling_area",
    # "cropping_final",
]

# nproc = 4                     # worker processes; by default one for each core allowed
# precision = "float32"         # "source" truncates after each step, as PyStack3D does
# keep = ["ingested", "intermediates"]   # what stays on disk after a run

# Areas are [xmin, xmax, ymin, ymax] in pixels, origin bottom left.

[cropping]
area = [0, {width}, 0, {height}]

[bkg_removal]
orders = [1, 2, 1]              # largest powers of x, y, z; [1, 2]: a fit for each slice
cross_terms = true              # their products too
skip_factors = {skips:<16} # every how many pixels in x, y and slices in z is sampled
# poly_basis = "1 + x + y + x*y + z**2"   # the terms, in place of orders
# threshold_min = 2             # pixels outside the thresholds take no part, and stay
# threshold_max = 250
# weight_func = "HuberT"        # or "Hampel", "None"
# preserve_avg = true           # keep the mean, not the constant of the polynomial
# method = "local"              # the mean over a window around each pixel instead:
# size = [200, 200, 20]         # its width, height and depth in pixels

[intensity_rescaling]
nbins = 256
filter_size = -1                # slices averaged to make the target; -1: all
# range_bins = [0, 255]         # the stack's minimum and maximum by default

[intensity_rescaling_area]
area = [0, {width}, 0, {height}]
# threshold_min = 2
# threshold_max = 250
factors_range = [0.8, 1.2]

[cropping_final]
area = [0, {width}, 0, {height}]    # in pixels of what the other steps leave
"""


def write_params(directory: Path) -> Path:
    """Write ``params.toml`` for the slices in a directory.

    Parameters
    ----------
    directory : Path
        With slices in itself, or in sub-directories, one per channel.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ParameterError
        When there is one already: it is never overwritten.
    SourceError
        When there are no slices, or they do not agree.
    """
    path = directory / PARAMS_NAME
    channels = find_channels(directory)
    source = open_source(directory, channels=channels)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render(source, channels))
    except FileExistsError:
        problem = Problem("", "is there already and is not overwritten; rename or remove it")
        raise ParameterError([problem], str(path)) from None
    return path


def render(source: Source, channels: tuple[str, ...]) -> str:
    """Return the text for a source."""
    spec = source.specs[0]
    slices, height, width = spec.shape
    summary = f"{slices} slices of {width} x {height} pixels, {spec.source_dtype}."
    skips = [max(1, min(10, extent // SAMPLES)) for extent in (width, height, slices)]
    return TEMPLATE.format(
        skips=str(skips),
        summary=summary,
        channels=json.dumps(channels, ensure_ascii=False),
        last=slices - 1,
        width=width,
        height=height,
    )

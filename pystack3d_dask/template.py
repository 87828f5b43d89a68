"""The commented ``params.toml`` that ``init`` writes, filled from the acquisition."""

from __future__ import annotations

import json
from pathlib import Path

from pystack3d_dask.acquisition import Acquisition, Found, describe
from pystack3d_dask.config import PARAMS_NAME
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.io.tiff_metadata import shown
from pystack3d_dask.step import registry

SAMPLES = 16  # at least, along each axis, for the fit of a background
OPTIONAL = (  # listed, but not switched on
    "intensity_rescaling_area",
    "percentile_clipping",
    "gamma",
    "equalisation",
    "clahe",
    "cropping_final",
)

UNKNOWN_SIZE = "The images do not tell the size of pixels: voxel_size, below, does."
HEAD = """\
# Parameters of pystack3d-dask. {summary}
{pixels}

channels = {channels}{channels_origin}
# ind_min = 0                   # first slice kept
# ind_max = {last:<19} # last slice kept

# The corrections, in this order; each may stand anywhere, once, or be left out.
process_steps = [
{process_steps}
]

# nproc = 4                     # worker processes; by default one for each core allowed
# precision = "float32"         # "source" truncates after each step, as PyStack3D does
# keep = ["ingested", "intermediates"]   # what stays on disk after a run
# bad_slices = "fail"           # slices that cannot be read; "keep": blank, "interpolate", "drop"
# gpu = "prefer"                # what GPU workers do; "only", "share" with CPUs, "off"
# voxel_size = [0.01, 0.01, 0.02]   # x, y (and z) in µm, in place of what the images tell
# fingerprint = "times"         # what tells that slices changed: size and time, or their "content"

# Areas are [xmin, xmax, ymin, ymax] in pixels, origin bottom left.
"""

# in the usual order
TABLES = {
    "cropping": """\
area = {area}{area_origin}
""",
    "bkg_removal": """\
orders = [1, 2, 1]              # largest powers of x, y, z; [1, 2]: a fit for each slice
cross_terms = true              # their products too
skip_factors = {skips:<16} # every how many pixels in x, y and slices in z is sampled
# poly_basis = "1 + x + x*y + z**2"   # the terms, in place of orders
# threshold_min = 2             # pixels outside the thresholds take no part, and stay
# threshold_max = 250
# weight_func = "HuberT"        # or "Hampel", "None"
preserve_avg = true             # keep the mean, not the constant of the polynomial
# method = "local"              # the mean over a window around each pixel instead:
# size = [200, 200, 20]         # its width, height and depth in pixels
""",
    "intensity_rescaling": """\
nbins = 256
filter_size = -1                # slices averaged to make the target; -1: all
# range_bins = [0, 255]         # the stack's minimum and maximum by default
""",
    "intensity_rescaling_area": """\
area = {kept}
# threshold_min = 2
# threshold_max = 250
factors_range = [0.8, 1.2]
""",
    "registration_calculation": """\
# area = {kept}   # where slices are compared; by default all of what comes in
# threshold = 60                # compare which pixels are at most this, not their values
# nb_blocks = [1, 1]            # rows and columns of blocks that move each for itself
transformation = "TRANSLATION"  # or "RIGID_BODY", "SCALED_ROTATION", "AFFINE"
# method = "phase"              # for TRANSLATION: many times faster than StackReg
""",
    "registration_transformation": """\
# constant_drift = [0.0, 0.0]   # real motion in pixels per slice, to the right and down
# box_size_averaging = 10       # slices over which motion is real and stays
# subpixel = false              # leave out movements of less than a pixel
# mode = "constant"             # beyond the image; "edge", "symmetric", "reflect", "wrap"
cropping = true                 # keep what every slice covers
""",
    "destriping": """\
# along is the length of a stripe; theta = 0: upright ones; sigma = [across, along] in pixels
filters = [{{ name = "Gabor", noise_level = 20, sigma = [1, 30], theta = 0 }}]
maxit = 100
cvg_threshold = 1e-2            # stop where the largest change falls to it; 0: never
# wavelet_decomposition = {{ wavelet = "db15", sigma = 2.5 }}   # in place of filters
""",
    "resampling": """\
policy = {policy}
{dz}
# zpos_out = [0.0, 0.01, 0.02]  # positions in µm, in place of dz
z_source = {z_source:<20} # what tells z: "names", "metadata", "coordinates", or a list of µm
""",
    "percentile_clipping": """\
percentiles = [0.5, 99.5]       # grey levels that become black and white
scope = "stack"                 # percentiles of all slices; "slice": of each
""",
    "gamma": """\
gamma = 0.7                     # below 1 brightens, above 1 darkens
# in_range = [0, 255]           # what is black and white; by default the ends of the type
""",
    "equalisation": """\
scope = "stack"                 # the histogram of all slices; "slice": of each
""",
    "clahe": """\
scope = "stack"                 # tiles in three dimensions; "slice": in each slice
# size = [100, 100, 20]         # of a tile in x, y, z; by default an eighth of the stack
# size_unit = "pixels"          # or "um"
clip_limit = 0.01               # the smaller the less contrast, at most 1
""",
    "cropping_final": """\
area = {kept}    # in pixels of what the other steps leave
""",
}


def write_params(directory: Path, acquisition: Acquisition | None = None) -> Path:
    """Write ``params.toml`` for the slices in a directory.

    Parameters
    ----------
    directory : Path
        With slices in itself, or in sub-directories, one per channel.
    acquisition : Acquisition, optional
        What `describe` found there.

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
    text = render(acquisition or describe(directory))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        problem = Problem("", "is there already and is not overwritten; rename or remove it")
        raise ParameterError([problem], str(path)) from None
    return path


def render(acquisition: Acquisition) -> str:
    """Return the text for an acquisition, with the corrections that there are."""
    known = {name: body for name, body in tables(acquisition).items() if name in registry()}
    spec = acquisition.source.specs[0]
    slices, height, width = spec.shape
    head = HEAD.format(
        summary=f"{slices} slices of {width} x {height} pixels, {spec.source_dtype}.",
        pixels=_comment(_size(acquisition)),
        channels=json.dumps(acquisition.channels.value, ensure_ascii=False),
        channels_origin=_remark(acquisition.channels.origin),
        last=slices - 1,
        process_steps="\n".join(_listed(name, acquisition) for name in known),
    )
    return "\n".join([head, *(f"[{name}]\n{body}" for name, body in known.items())])


def tables(acquisition: Acquisition) -> dict[str, str]:
    """Return the table of each correction, whether there is one of this name or not."""
    spec, area = acquisition.source.specs[0], acquisition.area
    width, height = area.value[1] - area.value[0], area.value[3] - area.value[2]
    skips = [max(1, min(10, extent // SAMPLES)) for extent in (width, height, spec.shape[0])]
    values = {
        "area": list(area.value),
        "area_origin": _remark(area.origin),
        "kept": [0, width, 0, height],
        "skips": str(skips),
        "policy": json.dumps(acquisition.policy, ensure_ascii=False),
        "dz": _distance(acquisition.dz),
        "z_source": json.dumps(acquisition.z_source or "names"),
    }
    return {name: body.format(**values) for name, body in TABLES.items()}


def _size(acquisition: Acquisition) -> str:
    """Return the size of pixels that `plan` and `run` use, in words."""
    found, used = acquisition.pixel_size, acquisition.source.specs[0].pixel_size
    if found is not None:
        return f"Pixels of {shown(found.value)}: {found.origin}"
    return UNKNOWN_SIZE if used is None else f"Pixels of {shown(used)}, as the images tell."


def _distance(dz: Found[float] | None) -> str:
    key = "# dz = 0.01" if dz is None else f"dz = {dz.value}"
    origin = "not known here" if dz is None else dz.origin
    return f"{key:<31} # distance of slices in µm" + (f": {_plain(origin)}" if origin else "")


def _listed(name: str, acquisition: Acquisition) -> str:
    needs_z = name == "resampling" and (acquisition.dz is None or acquisition.z_source is None)
    line = f'"{name}",'
    return f"    # {line}" if name in OPTIONAL or needs_z else f"    {line}"


def _remark(origin: str) -> str:
    return f"  {_comment(origin)}" if origin else ""


def _comment(text: str) -> str:
    return f"# {_plain(text)}"


def _plain(text: str) -> str:
    """Return text without what TOML forbids in a comment; names of files may hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

"""The commented ``params.toml`` that ``init`` writes, filled from the acquisition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.io.tiff.metadata import shown
from pystack3d_dask.kernels.destriping.stripe_search import FEWEST_SLICES, SMALLEST
from pystack3d_dask.project.acquisition import Acquisition, Found
from pystack3d_dask.project.config import PARAMS_NAME

CAUTIOUS_FILTER = {"name": "Gabor", "noise_level": 1, "sigma": [1, 30], "theta": 0}
SAMPLES = 16  # at least, along each axis, for the fit of a background

UNKNOWN_SIZE = "The images do not tell the size of pixels: voxel_size, below, does."
HEAD = """\
# Parameters of pystack3d-dask. {summary}
{pixels}
{microscope}
channels = {channels}{channels_origin}
{samples}\
# ind_min = 0                   # first slice kept
# ind_max = {last:<19} # last slice kept

# The corrections, in this order; each may stand anywhere, once, or be left out. Active are those
# that a look at some slices gives evidence for. It cannot show what single slices elsewhere have.
process_steps = [
{process_steps}
]

# nproc = 4                     # worker processes; by default one for each core allowed
# precision = "float32"         # "source" truncates after each step, as PyStack3D does
# dither = false                # true: noise of one gray level, so that rounding leaves no gaps
{fill}
# keep = ["ingested", "intermediates"]   # what stays on disk after a run
# bad_slices = "fail"           # slices that cannot be read; "keep": blank, "interpolate", "drop"
# bad_content = "keep"          # slices that show something wrong; "interpolate", "drop"
# gpu = "prefer"                # what GPU workers do; "only", "share" with CPUs, "off"
# voxel_size = [0.01, 0.01, 0.02]   # x, y (and z) in µm, in place of what the images tell
# fingerprint = "times"         # what tells that slices changed: size and time, or their "content"

# Areas are [xmin, xmax, ymin, ymax] in pixels, origin bottom left.
"""


def write_params(
    directory: Path, acquisition: Acquisition, findings: Mapping[str, Finding]
) -> Path:
    """Write ``params.toml`` for the slices in a directory.

    Parameters
    ----------
    directory : Path
        With slices in itself, or in sub-directories, one per channel.
    acquisition : Acquisition
        What `describe` found there.
    findings : mapping of str to Finding
        Evidence for corrections, by their names, as `pystack3d_dask.evidence.look` returns it.

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
    text = render(acquisition, findings)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _existing(path) from None
    return path


def refuse_existing(directory: Path) -> None:
    """Raise the error of `write_params` before anything is read.

    Raises
    ------
    ParameterError
        When there is a ``params.toml``.
    """
    if (directory / PARAMS_NAME).exists():
        raise _existing(directory / PARAMS_NAME)


def _existing(path: Path) -> ParameterError:
    problem = Problem("", "is there already and is not overwritten; rename or remove it")
    return ParameterError([problem], str(path))


def render(acquisition: Acquisition, findings: Mapping[str, Finding]) -> str:
    """Return the text for an acquisition, with the corrections that there are."""
    known = tables(acquisition, findings)
    verdicts = {name: _verdict(name, acquisition, findings) for name in known}
    spec = acquisition.source.specs[0]
    slices, height, width = spec.shape
    head = HEAD.format(
        summary=f"{slices} slices of {width} x {height} pixels, {spec.source_dtype}.",
        pixels=_comment(_size(acquisition)),
        channels=json.dumps(acquisition.channels.value, ensure_ascii=False),
        channels_origin=_remark(acquisition.channels.origin),
        microscope=_microscope(acquisition.microscope),
        samples=_samples(acquisition.samples),
        last=slices - 1,
        fill=_fill(findings.get("fill")),
        process_steps="\n".join(_listed(name, *verdicts[name]) for name in known),
    )
    return "\n".join([head, *(f"[{name}]\n{body}" for name, body in known.items())])


def tables(acquisition: Acquisition, findings: Mapping[str, Finding]) -> dict[str, str]:
    """Return the table of each correction, in their usual order."""
    spec, area = acquisition.source.specs[0], acquisition.area
    width, height = area.value[1] - area.value[0], area.value[3] - area.value[2]
    fitted = (width, height, spec.shape[0]) if spec.shape[0] > 1 else (width, height)
    skips = [max(1, min(10, extent // SAMPLES)) for extent in fitted]
    found = {key: value for each in findings.values() for key, value in each.values.items()}
    filters = found.get("filters", [CAUTIOUS_FILTER])
    is_too_small = spec.shape[0] < FEWEST_SLICES or min(width, height) < SMALLEST
    by_filters = "filters" in found or is_too_small
    values = {
        "if_filters": "" if by_filters else "# ",
        "unless_filters": "# " if by_filters else "",
        "along": json.dumps(found.get("along", "y")),
        "filters": ", ".join(_inline(each) for each in filters),
        "area": list(area.value),
        "area_origin": _remark(area.origin),
        "kept": [0, width, 0, height],
        "regions": _regions(acquisition),
        "orders": str([2, 2, 0][: len(fitted)]),
        "skips": str(skips),
        "policy": json.dumps(acquisition.policy, ensure_ascii=False),
        "dz": _distance(acquisition.dz),
        "z_source": json.dumps(acquisition.z_source or "names"),
    }
    steps = sorted(registry().values(), key=lambda step: (step.usual_place, step.name))
    return {step.name: step.template.format(**values) or _fields_of(step) for step in steps}


def _fields_of(step: type[Step]) -> str:
    """Return a table of the parameters with their defaults, as comments."""
    lines = []
    for field in fields(step):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        is_simple = isinstance(default, bool | int | float | str | list | tuple)
        value = json.dumps(default) if is_simple else "..."
        lines.append(f"# {field.name} = {value}\n" * (field.name != "checkpoint"))
    return "".join(lines)


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


def _fill(finding: Finding | None) -> str:
    is_found = finding is not None and finding.is_found
    key = f"fill = {finding.values['fill']}" if finding and is_found else "# fill = [0]"
    reason = (
        finding.reason if finding and is_found else "gray levels of padding, as of black borders"
    )
    return f"{key:<31} # {_plain(reason)}"


def _verdict(
    name: str, acquisition: Acquisition, findings: Mapping[str, Finding]
) -> tuple[bool, str]:
    """Return whether a correction is switched on, and why."""
    if name == "cropping":
        _, rows, columns = acquisition.source.specs[0].shape
        is_part = tuple(acquisition.area.value) != (0, columns, 0, rows)
        return is_part, acquisition.area.origin if is_part else "no part to be cut off is known"
    if name == "resampling" and (acquisition.dz is None or acquisition.z_source is None):
        return False, "the distance of slices is not known"
    finding = findings.get(name)
    return (finding.is_found, finding.reason) if finding else (False, registry()[name].purpose)


def _listed(name: str, is_on: bool, reason: str) -> str:
    line = f'"{name}",' if is_on else f'# "{name}",'
    return f"    {line:<35} {_comment(reason)}"


def _inline(values: Mapping[str, object]) -> str:
    """Return an inline table of TOML."""
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items()) + " }"


def _regions(acquisition: Acquisition) -> str:
    """Return a commented area for each region of interest, where there are several."""
    count = len(acquisition.regions)
    return "".join(
        f"# area = {list(area)}  # region of interest {k} of {count} and some pixels around it\n"
        for k, area in enumerate(acquisition.regions, 1)
    )


def _microscope(found: Found[str] | None) -> str:
    return f"{_comment(f'{found.value}: {found.origin}')}\n" if found else ""


def _samples(samples: str | None) -> str:
    key = f"samples = {json.dumps(samples)}"
    return f"{key:<31} # how color is read\n" if samples else ""


def _remark(origin: str) -> str:
    return f"  {_comment(origin)}" if origin else ""


def _comment(text: str) -> str:
    return f"# {_plain(text)}"


def _plain(text: str) -> str:
    """Return text without what TOML forbids in a comment; names of files may hold it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

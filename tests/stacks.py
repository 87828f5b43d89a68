"""Small stacks with the defects that the corrections mend, and projects made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from pystack3d_dask.errors import Problem
from pystack3d_dask.pipeline import Pipeline

Images = np.ndarray[Any, np.dtype[Any]]
SOLID, PORE = 160.0, 70.0  # gray levels

STEPS: Mapping[str, Mapping[str, Any]] = {
    "cropping": {"area": [3, 60, 5, 48]},
    "bkg_removal": {"orders": [1, 2, 1], "skip_factors": [3, 2, 2]},
    "intensity_rescaling": {"filter_size": 5},
    "intensity_rescaling_area": {"area": [5, 40, 5, 30]},
    "registration_calculation": {"transformation": "TRANSLATION", "area": [3, 50, 2, 40]},
    "registration_transformation": {"cropping": True},
    "destriping": {
        "filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 10], "theta": 0}],
        "maxit": 6,
    },
    "resampling": {"dz": 0.013},
    "cropping_final": {"area": [1, 50, 1, 40]},
}


WHOLE_CHAIN = {
    name: parameters
    for name, parameters in STEPS.items()
    if name not in ("intensity_rescaling_area", "cropping_final")
}


def images(
    shape: tuple[int, int, int] = (20, 50, 64), dtype: str = "uint8", seed: int = 0
) -> Images:
    """Return a textured stack with a background and brightness jumps."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    texture = ndimage.gaussian_filter(rng.normal(size=shape), (2, 2, 2))
    gains = 1 + 0.1 * rng.standard_normal(shape[0])
    values = (110 + 25 * texture / texture.std() + 40 * x - 30 * y**2 + 10 * z * x) * gains[
        :, None, None
    ]
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    scale = 1.0 if np.dtype(dtype).itemsize == 1 or limits is None else 200.0
    scaled = values * scale
    return (scaled if limits is None else np.clip(scaled, 0, limits.max)).astype(dtype)


def porous(slices: int = 24, side: int = 120, seed: int = 0, moves: Images | None = None) -> Images:
    """Return gray levels of a specimen that gets more porous from slice to slice, uint8."""
    rng = np.random.default_rng(seed)
    margin = 20
    noise = rng.normal(size=(slices, side + 2 * margin, side + 2 * margin))
    field = ndimage.gaussian_filter(noise, (3, 5, 5))
    field /= field.std()
    level = np.linspace(-1.2, 0.0, slices)[:, None, None]
    levels = np.where(field < level, PORE, SOLID)
    levels = ndimage.gaussian_filter(levels, (0, 1, 1)) + rng.normal(0, 3, levels.shape)
    moves = np.zeros((slices, 2), int) if moves is None else moves
    parts = [
        image[margin + dy : margin + dy + side, margin + dx : margin + dx + side]
        for image, (dy, dx) in zip(levels, moves, strict=True)
    ]
    return np.rint(np.clip(parts, 0, 255)).astype(np.uint8)


def write_slices(directory: Path, stack: Images, positions: Sequence[float] | None = None) -> None:
    """Write one TIFF per slice, 10 nm apart or at positions in micrometers; no other metadata."""
    directory.mkdir(parents=True, exist_ok=True)
    along_z = np.arange(len(stack)) * 0.01 if positions is None else positions
    for k, (z, image) in enumerate(zip(along_z, stack, strict=True)):
        tifffile.imwrite(directory / f"slice_{k:04d}_z={z:.4f}um.tif", image, metadata=None)


def spoil(path: Path) -> bytes:
    """Damage the pixels of a slice, but not its header; return what the file was."""
    content = path.read_bytes()
    tifffile.imwrite(path, tifffile.imread(path), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 20)
    return content


def doubts(pipeline: Pipeline) -> list[Problem]:
    """Return the warnings of a project, but not that the size of its pixels is unknown."""
    found = (each for each in pipeline.project.notes if each.severity == "warning")
    return [each for each in found if each.path != "voxel_size"]


def write_params(
    directory: Path,
    steps: Sequence[str] | Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``params.toml`` with some steps: by name with the parameters above, or given."""
    tables = steps if isinstance(steps, Mapping) else {name: STEPS[name] for name in steps}
    lines = [f"process_steps = {toml(list(tables))}"]
    lines += [f"{key} = {toml(value)}" for key, value in (settings or {}).items()]
    for name, parameters in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {toml(value)}" for key, value in parameters.items()]
    path = directory / "params.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def make_project(
    directory: Path,
    steps: Sequence[str] | Mapping[str, Mapping[str, Any]],
    stack: Images | Mapping[str, Images] | None = None,
    *,
    positions: Sequence[float] | None = None,
    **settings: Any,
) -> Path:
    """Write slices and parameters; several channels when ``stack`` is a mapping."""
    if isinstance(stack, Mapping):
        for channel, values in stack.items():
            write_slices(directory / channel, values, positions)
        settings.setdefault("channels", list(stack))
    else:
        write_slices(directory, images() if stack is None else stack, positions)
    write_params(directory, steps, settings)
    return directory


def toml(value: Any) -> str:
    """Return a value as TOML writes it, tables inline."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)

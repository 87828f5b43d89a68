"""The top-level keys of a parameter file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from pystack3d_dask.core.gpu_policy import GpuUse
from pystack3d_dask.core.typing import Precision
from pystack3d_dask.project.bad_content import BadContent
from pystack3d_dask.project.project import KEEP_ALL, Keep


class Settings(BaseModel):
    """The top-level keys of a parameter file."""

    model_config = ConfigDict(extra="forbid")

    process_steps: tuple[str, ...]
    channels: tuple[str, ...] = (".",)
    ind_min: int = 0
    ind_max: int | None = None
    nproc: NonNegativeInt | None = None
    project_dir: str | None = None
    history: tuple[str, ...] = ()
    precision: Precision = "float32"
    dither: bool = False
    fill: tuple[float, ...] = ()
    keep: tuple[Keep, ...] = KEEP_ALL
    bad_slices: Literal["fail", "keep", "drop", "interpolate"] = "fail"
    bad_content: BadContent = "keep"
    fingerprint: Literal["times", "content"] = "times"
    samples: Literal["luminance", "channels"] | None = None
    voxel_size: tuple[float, ...] | None = None
    gpu: GpuUse = "prefer"

"""Names for GPU workers: the resource that they carry, and what they may be used for."""

from __future__ import annotations

from typing import Literal

GpuUse = Literal["only", "prefer", "share", "off"]
GPU = "GPU"  # the resource that workers with a GPU carry

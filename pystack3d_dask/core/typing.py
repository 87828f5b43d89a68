"""Names of types that all packages use."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Triple = tuple[int, int, int]
Precision = Literal["float32", "source"]

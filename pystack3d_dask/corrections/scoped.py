"""What corrections have in common that look at all slices together, or at each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pystack3d_dask.core.stack_fit import StackFit
from pystack3d_dask.core.step import FitScope

Scope = Literal["stack", "slice"]


@dataclass(frozen=True, kw_only=True)
class Scoped(StackFit):
    """A correction of gray levels with a fit to the stack, or to each slice as it comes.

    Parameters
    ----------
    scope : {"stack", "slice"}
        What the fit is to.
    """

    scope: Scope = "stack"

    @property
    def whole(self) -> tuple[str, ...]:
        return ("y", "x") if self.scope == "slice" else ()

    @property
    def fit_scope(self) -> FitScope:
        return self.scope

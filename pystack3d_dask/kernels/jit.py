"""Compiling kernels: one rule for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(*, fastmath: set[str] | None = None) -> Callable[[F], F]:
    """Compile a kernel on first use, for one thread that does not hold the interpreter's lock.

    A division by zero gives infinity or NaN, as in numpy: looking for it would keep loops
    from being vectorised. Machine code is kept between processes, beside the package or in
    the user's cache.

    Parameters
    ----------
    fastmath : set of str, optional
        What LLVM may assume or change, of its fast-math flags. The result must still not
        depend on how a stack is cut.
    """
    return cast(
        Callable[[F], F],
        numba.njit(nogil=True, cache=True, fastmath=fastmath or False, error_model="numpy"),
    )

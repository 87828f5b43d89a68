"""The corrections of this package and of plug-ins, by name."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import warnings
from collections.abc import Iterator
from functools import cache

from pystack3d_dask.core.step import Step

CORRECTIONS = "pystack3d_dask.corrections"
ENTRY_POINTS = "pystack3d_dask.steps"


@cache
def registry() -> dict[str, type[Step]]:
    """Return the known steps by name: those of `pystack3d_dask.corrections`, and plug-ins.

    Other packages announce a step by an entry point in the group ``pystack3d_dask.steps``. One
    that cannot be loaded, or has the name of another step, is skipped with a warning.
    """
    steps = {step.name: step for step in _steps_in(CORRECTIONS)}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            if entry.name in steps:
                message = "another correction has this name"
                raise ValueError(message)
            steps[entry.name] = entry.load()
        except Exception as error:  # a broken plug-in may raise anything
            warnings.warn(
                f"the correction {entry.name!r} ({entry.value}) cannot be loaded and is "
                f"skipped: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    return steps


def _steps_in(package: str) -> Iterator[type[Step]]:
    """Yield the steps of a package's modules: the classes with a name of their own."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Step):
                if value.__module__ == module.__name__ and "name" in vars(value):
                    yield value

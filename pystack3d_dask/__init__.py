"""Correction of large 3D image stacks on Dask and Zarr.

``dir(pystack3d_dask)`` has all that a notebook or script needs; ``__init__.pyi`` declares it.
Each name is imported when it is first used: workers and the command line start without xarray
and pydantic. Arrays of xarray get the accessor ``stack3d`` where xarray is imported first, else
with the first name that is used.
"""

import sys
from importlib import import_module

import lazy_loader

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _add_accessor() -> None:
    if "xarray" in sys.modules:
        import_module("pystack3d_dask.lazy.accessor")


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("pystack3d-dask")
    value = _import(name)
    _add_accessor()
    return value


_add_accessor()

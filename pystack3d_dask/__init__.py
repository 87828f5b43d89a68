"""Correction of large 3D image stacks on Dask and Zarr.

``dir(pystack3d_dask)`` has all that a notebook or script needs; ``__init__.pyi`` declares it.
Each name is imported when it is first used: workers and the command line start without xarray
and pydantic.
"""

from typing import Any

import lazy_loader

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pystack3d-dask")
    return _import(name)

"""Correction of large 3D image stacks on Dask and Zarr.

The names below are all that a notebook or script needs; the rest of the package can be
imported from its modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack3d_dask.cli.progress import show_progress
    from pystack3d_dask.lazy.corrections import (
        Fit,
        crop,
        destripe,
        fit_background,
        fit_intensity,
        fit_intensity_area,
        fit_registration,
        open_result,
        open_stack,
        register,
        remove_background,
        resample,
        rescale_intensity,
        rescale_intensity_area,
        to_source_type,
    )
    from pystack3d_dask.lazy.exposure import (
        adjust_gamma,
        clahe,
        clip_percentiles,
        equalise,
        fit_clahe,
        fit_equalisation,
        fit_percentiles,
    )
    from pystack3d_dask.pipeline import Pipeline

    __version__: str

__all__ = [
    "Fit",
    "Pipeline",
    "adjust_gamma",
    "clahe",
    "clip_percentiles",
    "crop",
    "destripe",
    "equalise",
    "fit_background",
    "fit_clahe",
    "fit_equalisation",
    "fit_intensity",
    "fit_intensity_area",
    "fit_percentiles",
    "fit_registration",
    "open_result",
    "open_stack",
    "register",
    "remove_background",
    "resample",
    "rescale_intensity",
    "rescale_intensity_area",
    "show_progress",
    "to_source_type",
]

_MODULES = {"Pipeline": "pipeline", "show_progress": "cli.progress"} | dict.fromkeys(
    [
        "adjust_gamma",
        "clahe",
        "clip_percentiles",
        "equalise",
        "fit_clahe",
        "fit_equalisation",
        "fit_percentiles",
    ],
    "lazy.exposure",
)


def __getattr__(name: str) -> Any:
    """Import on first use: workers and the command line start without xarray and pydantic."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pystack3d-dask")
    if name in __all__:
        module = import_module(f"pystack3d_dask.{_MODULES.get(name, 'lazy.corrections')}")
        return getattr(module, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)

"""Corrections of exposure as functions on lazy arrays; the others are in `corrections`.

Values go from black to white as far as the type of the acquisition does, those of a stack of
floats from 0 to 1. With ``scope="slice"`` each slice is seen by itself and no fit is needed.
"""

from __future__ import annotations

from typing import Any

import xarray as xr

from pystack3d_dask.lazy.corrections import Fit, applied, fitted, with_fit
from pystack3d_dask.project.config import build_step


def adjust_gamma(stack: xr.DataArray, **parameters: Any) -> xr.DataArray:
    """Brighten or darken by a power law.

    Parameters
    ----------
    stack : DataArray
        The stack.
    **parameters
        Those of `pystack3d_dask.corrections.gamma.Gamma`, such as ``gamma=0.5``.
    """
    return applied(stack, (build_step("gamma", parameters),))


def fit_percentiles(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the grey levels that are percentiles of the whole stack.

    Parameters
    ----------
    stack : DataArray
        The stack.
    **parameters
        Those of `pystack3d_dask.corrections.percentile_clipping.PercentileClipping`.
    """
    return fitted(stack, build_step("percentile_clipping", parameters), "clip_percentiles")


def clip_percentiles(
    stack: xr.DataArray, fit: Fit | None = None, **parameters: Any
) -> xr.DataArray:
    """Make one percentile black and another white.

    Parameters
    ----------
    stack : DataArray
        The stack.
    fit : Fit, optional
        From `fit_percentiles`.
    **parameters
        Without a fit: ``scope="slice"``, and ``percentiles``.
    """
    return with_fit(stack, "percentile_clipping", fit, parameters, "fit_percentiles")


def fit_equalisation(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the share of the pixels of a whole stack that are not brighter than a grey level.

    Parameters
    ----------
    stack : DataArray
        The stack.
    **parameters
        Those of `pystack3d_dask.corrections.equalisation.Equalisation`.
    """
    return fitted(stack, build_step("equalisation", parameters), "equalise")


def equalise(stack: xr.DataArray, fit: Fit | None = None, **parameters: Any) -> xr.DataArray:
    """Make all grey levels as frequent as each other.

    Parameters
    ----------
    stack : DataArray
        The stack.
    fit : Fit, optional
        From `fit_equalisation`.
    **parameters
        Without a fit: ``scope="slice"``, and ``nbins``.
    """
    return with_fit(stack, "equalisation", fit, parameters, "fit_equalisation")


def fit_clahe(stack: xr.DataArray, **parameters: Any) -> Fit:
    """Find the grey level maps of tiles in three dimensions.

    Parameters
    ----------
    stack : DataArray
        The stack. Its coordinates turn a ``size`` in micrometres (``size_unit="um"``) into
        voxels.
    **parameters
        Those of `pystack3d_dask.corrections.clahe.Clahe`.
    """
    return fitted(stack, build_step("clahe", parameters), "clahe")


def clahe(stack: xr.DataArray, fit: Fit | None = None, **parameters: Any) -> xr.DataArray:
    """Equalise histograms tile by tile, with limited contrast.

    Parameters
    ----------
    stack : DataArray
        The stack.
    fit : Fit, optional
        From `fit_clahe`.
    **parameters
        Without a fit: ``scope="slice"``, and others such as ``size=(200, 200)``.
    """
    return with_fit(stack, "clahe", fit, parameters, "fit_clahe")

"""Corrections as lazy arrays, for notebooks and scripts; importing it adds the accessor."""

from pystack3d_dask.lazy import accessor as accessor

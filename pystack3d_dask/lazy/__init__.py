"""Corrections as functions on lazy arrays of xarray."""

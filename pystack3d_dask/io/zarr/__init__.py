"""Zarr arrays as sources and stores; all use of Zarr's private API."""

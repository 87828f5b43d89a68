"""Results as TIFF slices, BigTIFF, or OME-Zarr 0.4."""

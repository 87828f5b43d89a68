"""OME-Zarr images: metadata of all versions, multiscale results."""

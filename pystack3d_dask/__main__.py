"""``python -m pystack3d_dask``."""

from pystack3d_dask.command import main

main()

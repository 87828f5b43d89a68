"""``python -m pystack3d_dask``."""

from pystack3d_dask.cli import main

main()

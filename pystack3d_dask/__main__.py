"""``python -m pystack3d_dask``."""

from pystack3d_dask.cli.command import main

if __name__ == "__main__":  # workers import it, too
    main()

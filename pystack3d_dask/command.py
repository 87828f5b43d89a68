"""Where the command begins: signals are heard before anything is imported that takes time."""

from pystack3d_dask.stopping import listen

listen()


def main() -> None:
    """Run the command line."""
    from pystack3d_dask.cli import main

    main()

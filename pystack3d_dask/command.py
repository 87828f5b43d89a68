"""Where the command begins: signals are heard before anything is imported that takes time."""

from pystack3d_dask.stopping import listen


def main() -> None:
    """Run the command line."""
    listen()  # not above: workers import this module, too
    from pystack3d_dask.cli import main

    main()

"""Start of the command: signals are handled before anything slow is imported."""

from pystack3d_dask.cli.stopping import listen


def main() -> None:
    """Run the command line."""
    listen()  # not above: workers import this module, too
    from pystack3d_dask.cli.main import main

    main()

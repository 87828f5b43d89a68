"""Start of the command: signals are handled before anything slow is imported."""

from pystack3d_dask.cli.stopping import leave_in_peace, listen


def main() -> None:
    """Run the command line."""
    leave_in_peace()  # not above: workers import this module, too
    listen()
    from pystack3d_dask.cli.main import main

    main()

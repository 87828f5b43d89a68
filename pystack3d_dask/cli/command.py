"""Start of the command: signals are handled before anything slow is imported."""

from pystack3d_dask.cli.collecting import uncollected
from pystack3d_dask.cli.stopping import ignore_signals_at_exit, listen


def main() -> None:
    """Run the command line."""
    ignore_signals_at_exit()  # not above: workers import this module, too
    listen()
    with uncollected():
        from pystack3d_dask.cli.main import main

    main()

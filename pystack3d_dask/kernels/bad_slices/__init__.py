"""Slices that show something else than their neighbors, or nothing usable."""

"""A few slices through the chain: previews, sweeps, suggestions."""

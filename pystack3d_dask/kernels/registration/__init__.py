"""Estimation of motion between slices, and resampling in their plane."""

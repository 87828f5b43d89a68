"""Histograms, masks, and maps of gray levels."""

"""Metadata that microscopes write into slices."""

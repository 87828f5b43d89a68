"""The corrections, a module each."""

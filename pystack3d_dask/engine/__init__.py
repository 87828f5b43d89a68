"""Execution of a plan on workers, block by block."""

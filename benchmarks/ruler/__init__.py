"""The parts of ``quality.py``: stacks with known truth, measures, and programs to be measured."""

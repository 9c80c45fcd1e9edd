"""Graphs as text for people: NumPy programs and formulas. `fg.source` is in `transforms.source`."""

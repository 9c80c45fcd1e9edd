"""Pytrees in files: `save` and `load`, to `.npz` and `.safetensors`, never with pickle.

May import `funcgraph.errors`, `tree` and NumPy.
"""

from funcgraph.io.storage import load, save

__all__ = ["load", "save"]

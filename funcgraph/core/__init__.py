"""The machinery of transformations: abstract values, tracers and primitives.

May import `funcgraph.errors`, `funcgraph.typing`, `funcgraph.tree` and NumPy; knows no operation
by name and no transformation.
"""

"""NumPy's functions on NumPy arrays, JAX arrays, JAX tracers and funcgraph's tracers alike.

May import `core`, `ops`.
"""

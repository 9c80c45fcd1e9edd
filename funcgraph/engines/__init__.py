"""Engines run graphs: `numpy` compiles them to Python functions, `xla` hands them to JAX."""

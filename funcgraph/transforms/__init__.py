"""Transformations of functions. May import `funcgraph.core`, `funcgraph.ops`, `funcgraph.tree`."""

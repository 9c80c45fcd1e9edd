"""Tables of primitives, by chapter. May import `funcgraph.core`."""

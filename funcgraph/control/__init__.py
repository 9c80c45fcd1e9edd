"""Control flow that transformations understand, and rules of derivation given by the user."""

"""SciPy's functions on NumPy arrays, JAX arrays and tracers; needs the extra `scipy`.

`import funcgraph.scipy.special`, `import funcgraph.scipy.linalg`. May import everything below.
"""

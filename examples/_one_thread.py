"""Imported before NumPy: its products of matrices run on one thread.

A step of a recurrent net is a product of small matrices, for which threads cost more than they
bring: on a busy machine several times the work itself. What the environment says comes first.
"""

import os

for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(name, "1")

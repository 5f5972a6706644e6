"""For all tests: drawn examples are the same every time, and a busy machine fails none of them."""

import os

from hypothesis import settings

# Before torch or a BLAS is imported: two threads on a busy processor are slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile("missrate", deadline=None, derandomize=True)
settings.load_profile("missrate")

"""The one source of randomness: a fresh generator for every (seed, purpose).

Nothing in missrate keeps a random state between two calls: step 17 of a training draws from
``generator(seed, "batch", 17)`` whether or not the process was killed after step 16.
"""

import hashlib

import numpy as np


def number(seed: int, *purpose: str | int) -> int:
    """A whole number in [0, 2**63) that depends on all arguments and on nothing else."""
    text = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator for this seed and purpose; the same arguments always give the same stream."""
    return np.random.default_rng(number(seed, *purpose))

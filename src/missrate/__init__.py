"""Tells which tumours a segmentation model misses."""

from importlib.metadata import version

from missrate.core.errors import MissrateError

__all__ = ["MissrateError", "__version__"]

__version__ = version("missrate")

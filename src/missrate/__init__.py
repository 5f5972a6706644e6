"""Tells which tumours a segmentation model misses."""

"""Shelf: one file is one source format.

A member has ``Config``, ``find(root, config) -> list[Entry]`` (touches no voxel), ``load_image(location) -> Scan`` and
``load_map(location) -> Map``; both loaders give RAS+ and raise DataError for a file that cannot be used.
"""

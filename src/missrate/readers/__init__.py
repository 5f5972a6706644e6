"""Shelf: one file is one source format.

A member has ``Config``, ``find(root, config) -> list[Entry]`` (touches no voxel), ``load_image(location) -> Scan`` and
``load_map(location) -> Map``; both loaders give RAS+ and raise DataError for a file that cannot be used.

A member that serves ``evaluate`` has some of these as well:

``recognises(root) -> bool``: whether ``root`` looks like this format, by file names alone.
``load_reference(location) -> Crop``: an integer label map in RAS+; cropped where that is free, else whole.
``load_prediction(location, labels) -> Prediction | Points``: what some software said; ``labels`` are the values (or the
channels) that are lesion. A map of labels says which ``numbers`` it holds, so that those of an arm are judged together
(``foreign.prediction_of`` does both). DataError for a file that is broken, holds NaN or lies outside of [0, 1].
``ONLY_VOXEL_SIZE = True``: the format keeps neither directions nor origin; the reference's voxel size counts.
``geometry(location)``: shape and affine of the axes of the label's own file, before they are turned to RAS+; None where
nothing says them, as for a format with ``ONLY_VOXEL_SIZE`` that has no scan beside it.
``beside(location) -> list[Path]``: further files that are read for a location, so that a change of them is noticed.
``ABSENT_IS_EMPTY = True``: a case of which the source has nothing was predicted, and nothing was found in it.

A member that serves a study or ``check`` has some of these:

``label_names(root) -> dict[int, str]``: what the source's own file says that its numbers mean; empty where it says
nothing.
``notes(root, config) -> list[str]``: what lies in the source and is no case, with the reason, such as scans without
labels that belong to a hidden test: one sentence each, said aloud.

A location is a path, perhaps followed by ``#`` and what else the reader must know, or JSON that holds all of it (and
the state of the files, so that a change is noticed); ``_files.files_of`` gives the files.
A format without directions (``Grid.affine`` None) keeps the order of its file: it fits the reference's array as that
lies in the reference's own file, which ``nifti.geometry`` tells.
"""

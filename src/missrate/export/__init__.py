"""ROOM prepared/ -> the layout of another tool. One file is one target; each is read back to the same voxels.

A target has ``write(case, out, about)``, which leaves the files of one case and touches none that is there, and
``finish(out, cases, about)``, which writes what is said of all of them. Labels out are 0 background, then 1 organ and
2 lesion where the source names an organ, else 1 lesion; voxels that nobody is sure of get ``About.ignore``.
"""

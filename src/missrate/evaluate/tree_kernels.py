"""The compiled kernels of the component tree: from basins and bridges to the rows of ``core.case.Tree``.

Once every voxel is known to belong to a basin (``basin_kernels.py``), what is left of the tree is which basins merge at
which level: a union-find over basins, of which there are far fewer than voxels. Bridges and voxels are visited level by
level, highest first (Kruskal's order, as for a minimum spanning tree; see Najman and Couprie 2006 on trees by
union-find).

Arrays are in the order of memory, as in ``kernels.py``. Shapes: N voxels above the floor, ascending; B basins; E
bridges; M rows of the tree; V reference voxels.
"""
# mypy: ignore-errors
# Numba infers these types itself; ``compiled.py`` calls them with checked ones.

import numpy as np
from numba import njit

from missrate.core.quantise import TOP
from missrate.evaluate.basin_kernels import PARENT, find

WEIGHT, HEAD, TAIL = 1, 2, 3
LEVEL, OWN, CHILD, SIBLING = 0, 1, 2, 3


@njit(cache=True)
def levels_begin(level):
    """Where each level begins when what has them is sorted by level, highest first: (TOP + 2,).

    Those of level t are ``begin[t + 1]`` to ``begin[t]``.
    """
    begin = np.zeros(TOP + 2, np.int64)
    for t in level:
        begin[t] += 1
    for t in range(TOP, -1, -1):
        begin[t] += begin[t + 1]
    return begin


@njit(cache=True)
def voxels_by_level(level, basin, hits, begin):
    """The basins of voxels in the order of levels, (N,), and where the voxels ``hits`` (ascending) stand in it."""
    following = begin[1:].copy()
    turn, hit_turn = np.empty(basin.size, np.int32), np.empty(hits.size, np.int32)
    h = 0
    for n in range(basin.size):
        at = following[level[n]]
        turn[at] = basin[n]
        following[level[n]] += 1
        if h < hits.size and hits[h] == n:
            hit_turn[h] = at
            h += 1
    return turn, hit_turn


@njit(cache=True)
def bridges_by_level(level, basin, bridge, end, begin):
    """The pairs of basins that are bridged, in the order of levels: (E, 2)."""
    following = begin[1:].copy()
    pairs = np.empty((bridge.size, 2), np.int32)
    for e in range(bridge.size):
        t = level[bridge[e]]
        pairs[following[t], 0], pairs[following[t], 1] = basin[bridge[e]], end[e]
        following[t] += 1
    return pairs


@njit(cache=True)
def _merge(a, b, sets, rows, sums):
    """Makes one set of two: the heavier one, with the rows of both, which the next row of this level will join."""
    a, b = find(sets, a), find(sets, b)
    if a == b:
        return
    if sets[b, WEIGHT] > sets[a, WEIGHT]:
        a, b = b, a
    sets[b, PARENT] = a
    sets[a, WEIGHT] += sets[b, WEIGHT]
    if sets[b, HEAD] >= 0:
        if sets[a, HEAD] < 0:
            sets[a, HEAD] = sets[b, HEAD]
        else:
            rows[sets[a, TAIL], SIBLING] = sets[b, HEAD]
        sets[a, TAIL] = sets[b, TAIL]
    elif sets[a, HEAD] < 0:  # two parts of one plateau
        sums[a] += sums[b]


@njit(cache=True)
def grow(turn, begin, pairs, pairs_begin, sums):
    """The rows of the tree in the order in which they come about as the level sinks, children first: (M, 4).

    Gives for each row its level, own voxels, first child (``~b`` for a maximum, of which ``sums[b]`` are the sums of
    the plateau) and next sibling (-1: none). ``turn`` holds the row of each voxel afterwards. What is looked at
    together lies in one line of memory: (B, 4) for each set of basins, (M, 4) for each row.
    """
    sets, rows = np.full((len(sums), 4), -1, np.int32), np.empty((turn.size, 4), np.int32)
    for b in range(len(sums)):
        sets[b, PARENT], sets[b, WEIGHT] = b, 1
    count = 0
    for t in range(TOP, -1, -1):
        for e in range(pairs_begin[t + 1], pairs_begin[t]):
            _merge(pairs[e, 0], pairs[e, 1], sets, rows, sums)
        for n in range(begin[t + 1], begin[t]):
            root = find(sets, turn[n])
            row = sets[root, HEAD]
            if row < 0 or rows[row, LEVEL] != t:
                rows[count, LEVEL], rows[count, OWN], rows[count, SIBLING] = t, 0, -1
                rows[count, CHILD] = row if row >= 0 else ~root
                row = sets[root, HEAD] = sets[root, TAIL] = count
                count += 1
            rows[row, OWN] += 1
            turn[n] = row
    return rows[:count]


@njit(cache=True)
def middles(sums, reference, lesion_voxels, lesion_of, sizes, strides):
    """The middle of each plateau: the voxel nearest to the mean of its indices; a half goes up.

    Gives its place along x, y, z (``strides`` in memory order) and the lesion there (-1: none), (B,) each; they mean
    something for the basins that ``grow`` names.
    """
    along, lesion = np.zeros(len(sums), np.int64), np.full(len(sums), -1, np.int32)
    for b in range(len(sums)):
        where = 0
        for axis in range(3):
            index = (2 * sums[b, axis] + sums[b, 3]) // (2 * sums[b, 3])
            where = where * sizes[axis] + index
            along[b] += index * strides[axis]
        if reference[where] != 0:
            lesion[b] = lesion_of[np.searchsorted(lesion_voxels, where)]
    return along, lesion


@njit(cache=True)
def places(rows):
    """Where each row stands when its descendants stand together just before it, and how many rows that are."""
    below, place = np.ones(len(rows), np.int32), np.zeros(len(rows), np.int32)
    for row in range(len(rows)):
        each = rows[row, CHILD]
        while each >= 0:
            below[row] += below[each]
            place[each] = -1
            each = rows[each, SIBLING]
    free = 0
    for row in range(len(rows)):
        if place[row] == 0:
            free += below[row]
            place[row] = free - 1
    for row in range(len(rows) - 1, -1, -1):
        at = place[row] - 1
        each = rows[row, CHILD]
        while each >= 0:
            place[each] = at
            at -= below[each]
            each = rows[each, SIBLING]
    return place, below


@njit(cache=True)
def placed(rows, place, below):
    """What ``arrange`` needs, row by row at its place: level, first, own voxels, and the basin of a maximum or -1."""
    level, first = np.empty(len(rows), np.uint16), np.empty(len(rows), np.int32)
    total, basin = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    for row in range(len(rows)):
        at = place[row]
        level[at], first[at], total[at] = rows[row, LEVEL], at - below[row] + 1, rows[row, OWN]
        basin[at] = max(~rows[row, CHILD], -1)
    return level, first, total, basin


@njit(cache=True)
def arrange(level, first, total, basin, along, lesion):
    """The other columns of the tree, (M,) each: until, peak and point (see ``core.case.Tree``); sums up ``total``.

    The point is that of the highest plateau; of equal plateaus that of the larger candidate, then the one that comes
    first along x, y, z. Rows stand in their places: the last child of row m is row m - 1, and the one before a child c
    is row ``first[c] - 1``.
    """
    rows = level.size
    until, peak, point = np.zeros(rows, np.uint16), level.copy(), np.empty(rows, np.int32)
    for row in range(rows):
        best, each = -1, row - 1
        while each >= first[row]:
            until[each] = level[row]
            total[row] += total[each]
            if best < 0 or peak[each] > peak[best]:
                best = each
            elif peak[each] == peak[best]:
                larger, equal = total[each] > total[best], total[each] == total[best]
                if larger or (equal and along[basin[each]] < along[basin[best]]):
                    best = each
            each = first[each] - 1
        if best >= 0:
            peak[row], basin[row] = peak[best], basin[best]
        point[row] = lesion[basin[row]]
    return until, peak, point


@njit(cache=True)
def common(voxels, lesion_voxels):
    """The indices, in both of two ascending lists, of the voxels that are in both."""
    most = min(voxels.size, lesion_voxels.size)
    of_voxels, of_lesions = np.empty(most, np.int32), np.empty(most, np.int32)
    n, v, found = 0, 0, 0
    while n < voxels.size and v < lesion_voxels.size:
        if voxels[n] == lesion_voxels[v]:
            of_voxels[found], of_lesions[found] = n, v
            found += 1
        step = voxels[n] <= lesion_voxels[v]
        v += voxels[n] >= lesion_voxels[v]
        n += step
    return of_voxels[:found], of_lesions[:found]

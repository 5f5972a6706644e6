"""The compiled kernels of the component tree: from the voxels above the floor to the rows of ``core.case.Tree``.

The idea: a voxel that is no local maximum touches a higher one, so at its own level it already belongs to whatever
candidate that one belongs to. Following such pointers upwards leads to a local maximum, and all voxels that lead to
the same one are its *basin* (as in a watershed). What is left of the tree is which basins merge at which level: a
union-find over basins, of which there are far fewer than voxels, so that it stays within the processor's cache. Two
basins can only meet at a voxel whose higher neighbours fall into groups that do not touch each other; such a voxel
leaves a *bridge* to each further group. Bridges and voxels are then visited level by level, highest first (Kruskal's
order, as for a minimum spanning tree; see Najman and Couprie 2006 on trees by union-find).

Of two equal voxels the earlier one in memory is higher, so that a plateau has one maximum.

Arrays are in the order of memory, as in ``kernels.py``. Shapes: N voxels above the floor, ascending; B basins; E
bridges; M rows of the tree; V reference voxels.
"""
# mypy: ignore-errors
# Numba infers these types itself; ``compiled.py`` calls them with checked ones.

from itertools import product

import numpy as np
from numba import njit

from missrate.core.quantise import TOP


def _bits(along):
    """The bits of those of a neighbourhood of 3 x 3 x 3 (in the order of memory) whose steps are as wished."""
    return sum(1 << k for k, step in enumerate(product((-1, 0, 1), repeat=3)) if along(*step))


FACES = _bits(lambda a, b, c: abs(a) + abs(b) + abs(c) == 1)
"""The six neighbours across a face: each touches most of the others."""
FORWARD_1, BACK_1 = _bits(lambda a, b, c: b > -1), _bits(lambda a, b, c: b < 1)
FORWARD_2, BACK_2 = _bits(lambda a, b, c: c > -1), _bits(lambda a, b, c: c < 1)
"""Where a bit may arrive that moves on or back along an axis; off the ends of axis 0 it leaves by itself."""
DE_BRUIJN = 0x077CB531
BIT = np.zeros(32, np.int64)
BIT[[((DE_BRUIJN << k) & 0xFFFFFFFF) >> 27 for k in range(32)]] = np.arange(32)
"""Which bit is set in a number with one bit, by De Bruijn's product."""
ONE = np.uintp(1)
PARENT, WEIGHT, HEAD, TAIL = 0, 1, 2, 3
LEVEL, OWN, CHILD, SIBLING = 0, 1, 2, 3


@njit(cache=True, inline="always")
def _lowest(bits):
    """The lowest bit that is set, alone."""
    return bits & -bits


@njit(cache=True)
def _group(bits, seed):
    """Those of ``bits`` that hang together with ``seed``, which is one of them: it grows by a voxel all around."""
    grown, before = seed, 0
    while grown not in (before, bits):
        before = grown
        grown |= (grown << 1) & FORWARD_2 | (grown >> 1) & BACK_2
        grown |= (grown << 3) & FORWARD_1 | (grown >> 3) & BACK_1
        grown |= grown << 9 | grown >> 9
        grown &= bits
    return grown


@njit(cache=True, inline="always")
def _three(height, at, least):
    """Three bits: which of three voxels in a row, the middle one at ``at``, are at least so high."""
    at = np.uintp(at)  # numba looks whether a signed index is negative
    return (height[at - ONE] >= least) | ((height[at] >= least) << 1) | ((height[at + ONE] >= least) << 2)


@njit(cache=True)
def _higher(height, before, at, after, stride, own):
    """The bits of the neighbours that are higher; the places are those of the middles of three planes."""
    bits = _three(height, before - stride, own) | _three(height, before, own) << 3
    bits |= _three(height, before + stride, own) << 6 | _three(height, at - stride, own) << 9
    bits |= (height[at - 1] >= own) << 12 | (height[at + 1] > own) << 14
    bits |= _three(height, at + stride, own + 1) << 15 | _three(height, after - stride, own + 1) << 18
    return bits | _three(height, after, own + 1) << 21 | _three(height, after + stride, own + 1) << 24


@njit(cache=True)
def _room(array, size):
    """The array, or a longer one with the same beginning, with room for ``size``."""
    if size <= array.size:
        return array
    result = np.empty(max(size, 2 * array.size), array.dtype)
    result[: array.size] = array
    return result


@njit(cache=True)
def _enter(voxels, level, start, first, area, size2, height, number, cell_of):
    """Enters the voxels of one plane from the ``start``-th on, ``first`` being the plane's; gives where they end."""
    height[:] = 0
    n = start
    stop, cell = first, 0
    while n < voxels.size and voxels[n] < first + area:
        if voxels[n] >= stop:
            row = (voxels[n] - first) // size2
            stop = first + (row + 1) * size2
            shift = row * 2 + size2 + 3 - first  # two empty cells a row, and a row and a cell before the first
        cell = voxels[n] + shift
        cell_of[n - start] = cell
        height[cell] = level[n] + 1
        number[cell] = n
        n += 1
    return n


@njit(cache=True)
def _lead(start, stop, cells, level, height, number, stride, slots, up, peak, basins, bridge, end, bridges):
    """``ascend`` for the voxels ``start`` to ``stop`` of a plane; ``slots`` are the beginnings of three planes."""
    for n in range(start, stop):
        cell = cells[n - start]
        bits = _higher(height, slots[0] + cell, slots[1] + cell, slots[2] + cell, stride, np.int64(level[n]) + 1)
        if bits == 0:
            up[n], peak[basins] = ~basins, level[n]
            basins += 1
            continue
        up[n] = -1
        while bits != 0:
            seed = _lowest(bits & FACES if bits & FACES else bits)
            k = BIT[((seed * DE_BRUIJN) & 0xFFFFFFFF) >> 27]
            other = number[slots[k // 9] + cell + (k // 3 % 3 - 1) * stride + k % 3 - 1]
            if up[n] < 0:
                up[n] = other
            else:
                bridge[bridges], end[bridges] = n, other
                bridges += 1
            bits &= ~_group(bits, seed)
    return basins, bridges


@njit(cache=True)
def ascend(voxels, level, size1, size2):
    """Where each voxel leads, (N,), the level of each maximum, (B,), and the bridges, (E,) and (E,).

    ``up`` of a voxel is a higher neighbour, and of a maximum ``~b``, the b-th in memory. A bridge says that at the
    level of its first voxel that and the second, which is higher, are one candidate. Three planes are held at a time:
    in slot ``i0 % 3`` the height (level + 1, or 0 where nothing is) and the number of each voxel of plane i0.
    """
    stride, plane, area = size2 + 2, (size1 + 2) * (size2 + 2), size1 * size2
    height, number = np.zeros((3, plane), np.uint16), np.empty((3, plane), np.int32)
    cell_of, stops, slots = (
        np.empty((3, min(area, voxels.size)), np.int32),
        np.zeros(3, np.int64),
        np.empty(3, np.int64),
    )
    up, peak = np.empty(voxels.size, np.int32), np.empty(voxels.size, np.uint16)
    bridge, end = np.empty(0, np.int32), np.empty(0, np.int32)
    basins, bridges, start, filled = 0, 0, 0, 0
    here = following = np.int64(0) if voxels.size == 0 else voxels[0] // area
    while start < voxels.size:
        while following <= here + 1:
            slot = following % 3
            filled = _enter(
                voxels, level, filled, following * area, area, size2, height[slot], number[slot], cell_of[slot]
            )
            stops[slot] = filled
            following += 1
        slots[:] = (here + 2) % 3 * plane, here % 3 * plane, (here + 1) % 3 * plane
        stop = stops[here % 3]
        most = bridges + 7 * (stop - start)  # no more than eight neighbours, the corners, do not touch each other
        bridge, end = _room(bridge, most), _room(end, most)
        basins, bridges = _lead(
            start, stop, cell_of[here % 3], level, height.ravel(), number.ravel(), stride, slots, up, peak, basins,
            bridge, end, bridges,
        )  # fmt: skip
        start = stop
        here += 1
    return up, peak[:basins], bridge[:bridges], end[:bridges]


@njit(cache=True)
def settle(up, bridge, end):
    """Turns where voxels lead into their basins, and bridges into pairs of basins; all in place.

    Gives how many bridges join two basins: they stand first in ``bridge`` (as voxels) and ``end`` (as basins).
    """
    for n in range(up.size):
        top = n
        while up[top] >= 0:
            top = up[top]
        basin, each = up[top], n
        while up[each] >= 0:  # whoever was met on the way leads there at once
            up[each], each = basin, up[each]
    for n in range(up.size):
        up[n] = ~up[n]
    kept = 0
    for e in range(bridge.size):
        if up[bridge[e]] != up[end[e]]:
            bridge[kept], end[kept] = bridge[e], up[end[e]]
            kept += 1
    return kept


@njit(cache=True)
def plateaus(voxels, level, basin, peak, size1, size2):
    """Sums over each basin's voxels at its own peak, (B, 4): of their indices along each axis, and of voxels."""
    sums = np.zeros((peak.size, 4), np.int64)
    for n in range(voxels.size):
        b = basin[n]
        if level[n] == peak[b]:
            sums[b, 3] += 1
            row = voxels[n] // size2
            sums[b, 0] += row // size1
            sums[b, 1] += row % size1
            sums[b, 2] += voxels[n] % size2
    return sums


@njit(cache=True)
def _find(sets, i):
    while sets[i, PARENT] != i:
        sets[i, PARENT] = sets[sets[i, PARENT], PARENT]
        i = sets[i, PARENT]
    return i


@njit(cache=True)
def label(voxels, level, sizes, strides):
    """26-connected components of voxels: the number of each voxel from 0, (N,), and the peak of each component.

    Components are numbered by their first voxel along x, y, z (``strides`` in memory order).
    """
    size1, size2 = sizes[1], sizes[2]
    basin, maxima, bridge, end = ascend(voxels, np.ones(voxels.size, np.uint16), size1, size2)
    sets = np.arange(maxima.size).astype(np.int32).reshape(-1, 1)
    for e in range(settle(basin, bridge, end)):
        sets[_find(sets, basin[bridge[e]]), PARENT] = _find(sets, end[e])
    lead, peak = np.full(maxima.size, 1 << 62, np.int64), np.zeros(maxima.size, np.uint16)
    for n in range(voxels.size):
        basin[n] = root = _find(sets, basin[n])
        row = voxels[n] // size2
        along = (row // size1) * strides[0] + (row % size1) * strides[1] + (voxels[n] % size2) * strides[2]
        lead[root] = min(lead[root], along)
        peak[root] = max(peak[root], level[n])
    order = np.argsort(lead)[: np.sum(lead < 1 << 62)]
    rank = np.empty(maxima.size, np.int32)
    rank[order] = np.arange(order.size)
    return rank[basin], peak[order]


@njit(cache=True)
def levels_begin(level, which):
    """Where each level begins when ``which`` (indices of voxels) are sorted by level, highest first: (TOP + 2,).

    Those of level t are ``begin[t + 1]`` to ``begin[t]``.
    """
    begin = np.zeros(TOP + 2, np.int64)
    for n in which:
        begin[level[n]] += 1
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
    a, b = _find(sets, a), _find(sets, b)
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
            root = _find(sets, turn[n])
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

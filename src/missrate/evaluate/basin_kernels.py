"""The compiled kernels that divide voxels into basins: the first half of the component tree, and components of a mask.

A voxel that is no local maximum touches a higher one, so at its own level it already belongs to whatever candidate that
one belongs to. Following such pointers upwards leads to a local maximum, and all voxels that lead to the same one are
its *basin*, as in a watershed. Two basins can only meet at a voxel whose higher neighbours fall into groups that do
not touch each other; such a voxel leaves a *bridge* to each further group. Of two equal voxels the earlier one in
memory is the higher: a plateau rises towards its beginning, and where it has several there are bridges between them.

Arrays are in the order of memory, as in ``kernels.py``. Shapes: N voxels, ascending; B basins; E bridges.
"""
# mypy: ignore-errors
# Numba infers these types itself; ``compiled.py`` calls them with checked ones.

from itertools import product

import numpy as np
from numba import njit


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
PARENT = 0


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
def find(sets, i):
    """Which element stands for the set of ``i``; column ``PARENT`` leads there."""
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
        sets[find(sets, basin[bridge[e]]), PARENT] = find(sets, end[e])
    lead, peak = np.full(maxima.size, 1 << 62, np.int64), np.zeros(maxima.size, np.uint16)
    for n in range(voxels.size):
        basin[n] = root = find(sets, basin[n])
        row = voxels[n] // size2
        along = (row // size1) * strides[0] + (row % size1) * strides[1] + (voxels[n] % size2) * strides[2]
        lead[root] = min(lead[root], along)
        peak[root] = max(peak[root], level[n])
    order = np.argsort(lead)[: np.sum(lead < 1 << 62)]
    rank = np.empty(maxima.size, np.int32)
    rank[order] = np.arange(order.size)
    return rank[basin], peak[order]

"""The compiled kernels of the one pass over voxels and of distances; the tree: ``basin_kernels``, ``tree_kernels``.

Arrays are C-contiguous, indexed [i0, i1, i2] in the order in which they lie in memory; ``axis_z`` (0 or 2) says which
of these indices is the axial slice, and the other two run along x and y. A voxel's number is its place in memory.
Shapes: N voxels above the floor, V reference voxels. ``plain.py`` gives the same without numba.
"""
# mypy: ignore-errors
# Numba infers these types itself; ``compiled.py`` calls them with checked ones.

import numpy as np
from numba import njit
from numpy.typing import NDArray

from missrate.core.quantise import NEAR, TOP

BLOCK = 512
"""Voxels that are skipped together when prediction and reference are empty there."""

Ints = NDArray[np.int64]


@njit(cache=True)
def _level(value, edges):
    """The level of one float32 or float64 in [0, 1], as ``quantise.encode`` has it; ``edges`` are those of its type."""
    scaled = np.float64(value) * TOP
    level = int(scaled)
    if NEAR < scaled - level < 1.0 - NEAR:  # no edge is near
        return level
    if level < TOP and value >= edges[level + 1]:
        level += 1
    elif value < edges[level]:
        level -= 1
    return level


@njit(cache=True)
def _any(values, zero):
    """Whether any value is not ``zero``, which has their type, so that many are looked at together."""
    together = zero
    for value in values:
        together |= value
    return together != 0


@njit(cache=True)
def count(values, bits, zero, reference, size_z, run_z, edges):
    """Counts of every level inside and outside of the reference, peaks of every slice, and of every block.

    ``values`` and ``reference`` are flat; ``bits`` are the same bytes as ``values`` seen as whole numbers, and
    ``zero`` is one of them; ``edges`` is None when the values are levels already. A slice changes every ``run_z``
    voxels. The last result is False when a value is no level or lies outside [0, 1].
    """
    inside, outside = np.zeros(TOP + 1, np.int64), np.zeros(TOP + 1, np.int64)
    slice_voxels = np.zeros(size_z, np.int64)
    slice_inside, slice_peak = np.zeros(size_z, np.uint16), np.zeros(size_z, np.uint16)
    blocks = (values.size + BLOCK - 1) // BLOCK
    block_peak, block_reference = np.zeros(blocks, np.uint16), np.zeros(blocks, np.bool_)
    for block in range(blocks):
        start, stop = block * BLOCK, min((block + 1) * BLOCK, values.size)
        has_reference = _any(reference[start:stop], np.uint8(0))
        if not has_reference and not _any(bits[start:stop], zero):
            outside[0] += stop - start
            continue
        block_reference[block] = has_reference
        z = (start // run_z) % size_z
        left = run_z - start % run_z
        zeros, peak = 0, 0
        for i in range(start, stop):
            if edges is None:
                level = np.int64(values[i])
                if level > TOP:
                    return inside, outside, slice_voxels, slice_inside, slice_peak, block_peak, block_reference, False
            else:
                value = values[i]
                if not (value >= 0.0 and value <= 1.0):
                    return inside, outside, slice_voxels, slice_inside, slice_peak, block_peak, block_reference, False
                level = 0 if value == 0.0 else _level(value, edges)
            if reference[i] != 0:
                inside[level] += 1
                slice_voxels[z] += 1
                slice_inside[z] = max(slice_inside[z], level)
            elif level == 0:
                zeros += 1
            else:
                outside[level] += 1
            if level > 0:
                peak = max(peak, level)
                slice_peak[z] = max(slice_peak[z], level)
            left -= 1
            if left == 0:
                left = run_z
                z = z + 1 if z + 1 < size_z else 0
        outside[0] += zeros
        block_peak[block] = peak
    return inside, outside, slice_voxels, slice_inside, slice_peak, block_peak, block_reference, True


@njit(cache=True)
def collect(values, reference, floor, voxels, lesion_voxels, block_peak, block_reference, edges):
    """The N voxels at or above ``floor`` and their levels, and the V reference voxels and theirs, both ascending."""
    active, active_level = np.empty(voxels, np.int64), np.empty(voxels, np.uint16)
    inside, inside_level = np.empty(lesion_voxels, np.int64), np.empty(lesion_voxels, np.uint16)
    n, v = 0, 0
    for block in range(block_peak.size):
        if block_peak[block] < floor and not block_reference[block]:
            continue
        for i in range(block * BLOCK, min((block + 1) * BLOCK, values.size)):
            if reference[i] == 0 and (values[i] < floor if edges is None else values[i] < edges[floor]):
                continue
            level = np.int64(values[i]) if edges is None else _level(values[i], edges)
            if level >= floor:
                active[n], active_level[n] = i, level
                n += 1
            if reference[i] != 0:
                inside[v], inside_level[v] = i, level
                v += 1
    return active, active_level, inside, inside_level


@njit(cache=True)
def bounds(voxels, size1, size2):
    """The lowest and the highest index of some voxels along each axis: (3, 2)."""
    box = np.empty((3, 2), np.int64)
    box[:, 0], box[:, 1] = 1 << 62, -1
    for i in voxels:
        row = i // size2
        for axis, index in ((0, row // size1), (1, row % size1), (2, i % size2)):
            box[axis, 0] = min(box[axis, 0], index)
            box[axis, 1] = max(box[axis, 1], index)
    return box


@njit(cache=True)
def count_labels(labels, lesions, count, lesion_count):
    """Of each label from 1: its voxels, the sums of their indices (count, 3), and those in each lesion."""
    voxels, sums = np.zeros(count, np.int64), np.zeros((count, 3), np.int64)
    shared = np.zeros((count, lesion_count), np.int64)
    for x in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for z in range(labels.shape[2]):
                label = labels[x, y, z] - 1
                if label < 0:
                    continue
                voxels[label] += 1
                sums[label, 0] += x
                sums[label, 1] += y
                sums[label, 2] += z
                if lesions[x, y, z] > 0:
                    shared[label, lesions[x, y, z] - 1] += 1
    return voxels, sums, shared


@njit(cache=True)
def first_hit(cells, filled, steps):
    """For each cell the first of ``steps`` that leads to a filled cell, -1 for none."""
    hit = np.full(cells.size, -1, np.int64)
    for n in range(cells.size):
        for k in range(steps.size):
            if filled[cells[n] + steps[k]] != 0:
                hit[n] = k
                break
    return hit


@njit(cache=True, fastmath=True)
def _squared(x_T, y_T, z_T, count, place, apart):
    """The squared distance of each of the first ``count`` places to ``place``, into ``apart``; gives the least."""
    x, y, z = place[0], place[1], place[2]
    least = np.inf
    for t in range(count):
        dx, dy, dz = x_T[t] - x, y_T[t] - y, z_T[t] - z
        apart[t] = dx * dx + dy * dy + dz * dz
        least = min(least, apart[t])
    return least


@njit(cache=True)
def far(source, starts, x_T, y_T, z_T):
    """The squared distance from each place of ``source`` (N, 3) to the nearest of T targets.

    Places of one block lie together, at ``starts[b]`` to ``starts[b + 1]``. What is nearest to one of them is at most
    twice the block's radius farther from its middle than the nearest place of all.
    """
    result = np.empty(len(source))
    middle = np.empty(3)
    apart, unused = np.empty(x_T.size), np.empty(x_T.size)
    x_K, y_K, z_K = np.empty(x_T.size), np.empty(x_T.size), np.empty(x_T.size)
    for b in range(starts.size - 1):
        start, stop = starts[b], starts[b + 1]
        radius = 0.0
        for axis in range(3):
            middle[axis] = source[start:stop, axis].mean()
        for n in range(start, stop):
            radius = max(radius, ((source[n] - middle) ** 2).sum())
        least = _squared(x_T, y_T, z_T, x_T.size, middle, apart)
        # A little more, so that rounding excludes nobody.
        reach = (np.sqrt(least) + 2.0 * np.sqrt(radius)) ** 2 * (1.0 + 1e-9)
        count = 0
        for t in range(x_T.size):
            if apart[t] <= reach:
                x_K[count], y_K[count], z_K[count] = x_T[t], y_T[t], z_T[t]
                count += 1
        for n in range(start, stop):
            result[n] = _squared(x_K, y_K, z_K, count, source[n], unused)
    return result


@njit(cache=True)
def nearest_along(squared, spacing):
    """For each n of each line, (L, N), the least ``squared[m] + ((n - m) * spacing) ** 2`` over all m.

    The lower envelope of the parabolas over each m (Felzenszwalb and Huttenlocher 2012); infinite where there is none.
    """
    lines, size = squared.shape
    result = np.full((lines, size), np.inf)
    vertex, begin = np.empty(size, np.int64), np.empty(size)
    for line in range(lines):
        count = 0
        for m in range(size):
            if squared[line, m] == np.inf:
                continue
            start = -np.inf
            while count > 0:
                v = vertex[count - 1]
                rise = (squared[line, m] - squared[line, v]) / (spacing * spacing)
                start = (rise + m * m - v * v) / (2.0 * (m - v))  # from here on the later parabola is lower
                if start > begin[count - 1]:
                    break
                count -= 1
                start = -np.inf
            vertex[count], begin[count] = m, start
            count += 1
        k = 0
        for n in range(size if count > 0 else 0):
            while k + 1 < count and begin[k + 1] < n:
                k += 1
            result[line, n] = squared[line, vertex[k]] + ((n - vertex[k]) * spacing) ** 2
    return result

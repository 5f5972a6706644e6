"""The compiled kernels: the one pass over voxels, and the component tree of the few voxels above the floor.

Arrays are C-contiguous, indexed [i0, i1, i2] in the order in which they lie in memory; ``axis_z`` (0 or 2) says which
of these indices is the axial slice, and the other two run along x and y. A voxel's number is its place in memory.
Shapes: N voxels above the floor, V reference voxels, M rows of the tree. ``plain.py`` gives the same without numba.
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
def _find(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def _rows(stride0, stride1):
    """The nine rows of three neighbours, as steps to their middles in a padded box whose last axis has stride 1."""
    steps = np.empty(9, np.int64)
    n = 0
    for a in range(-1, 2):
        for b in range(-1, 2):
            steps[n] = a * stride0 + b * stride1
            n += 1
    return steps


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
def _cells(voxels, size1, size2, box, stride0, stride1):
    """Where each voxel lies in the box with a border of one cell."""
    cells = np.empty(voxels.size, np.int64)
    for n in range(voxels.size):
        row = voxels[n] // size2
        a, b, c = row // size1 - box[0, 0] + 1, row % size1 - box[1, 0] + 1, voxels[n] % size2 - box[2, 0] + 1
        cells[n] = a * stride0 + b * stride1 + c
    return cells


@njit(cache=True)
def _join(parent, a, b):
    """Makes one of two sets; the earlier voxel stands for it."""
    a, b = _find(parent, a), _find(parent, b)
    parent[max(a, b)] = min(a, b)


@njit(cache=True)
def label(voxels, level, sizes, strides, box, place):
    """26-connected components of sparse voxels: the number of each voxel from 0, and of each component its peak.

    Components are numbered by their first voxel along x, y, z (``strides`` in memory order). ``place`` is 0 everywhere,
    has one cell for each of the box with its border, and is 0 again afterwards.
    """
    size1, size2 = sizes[1], sizes[2]
    stride1 = box[2, 1] - box[2, 0] + 3
    stride0 = stride1 * (box[1, 1] - box[1, 0] + 3)
    rows, cells = _rows(stride0, stride1), _cells(voxels, size1, size2, box, stride0, stride1)
    parent = np.arange(voxels.size, dtype=np.int32)
    for n in range(voxels.size):
        cell = cells[n]
        place[cell] = n + 1
        # Whatever touches a neighbour that is joined already is joined to it; voxels ascend, so the rest comes later.
        below, before = place[cell - stride0], place[cell - 1]
        if below != 0:
            _join(parent, n, below - 1)
            continue
        if before != 0:
            _join(parent, n, before - 1)
        for row in rows[:4]:
            if before != 0:
                if place[cell + row] == 0 and place[cell + row + 1] != 0:
                    _join(parent, n, place[cell + row + 1] - 1)
            elif place[cell + row] != 0:
                _join(parent, n, place[cell + row] - 1)
            else:
                for other in (place[cell + row - 1], place[cell + row + 1]):
                    if other != 0:
                        _join(parent, n, other - 1)
    for cell in cells:
        place[cell] = 0
    number = np.empty(voxels.size, np.int32)
    count = 0
    for n in range(voxels.size):
        root = _find(parent, n)
        if root == n:
            number[n] = count
            count += 1
        else:
            number[n] = number[root]
    lead, peak = np.full(count, 1 << 62, np.int64), np.zeros(count, np.uint16)
    for n in range(voxels.size):
        row = voxels[n] // size2
        along = (row // size1) * strides[0] + (row % size1) * strides[1] + (voxels[n] % size2) * strides[2]
        lead[number[n]] = min(lead[number[n]], along)
        peak[number[n]] = max(peak[number[n]], level[n])
    order = np.argsort(lead)
    rank = np.empty(count, np.int64)
    for k in range(count):
        rank[order[k]] = k
    return rank[number], peak[order]


@njit(cache=True)
def shared(voxels, row_of, place_of, lesion_voxels, lesion_of, lesions):
    """For every voxel of both lists (ascending), its row times ``lesions`` plus its lesion."""
    keys = np.empty(min(voxels.size, lesion_voxels.size), np.int64)
    n, v, found = 0, 0, 0
    while n < voxels.size and v < lesion_voxels.size:
        if voxels[n] == lesion_voxels[v]:
            keys[found] = np.int64(place_of[row_of[n]]) * lesions + lesion_of[v]
            found += 1
            n += 1
            v += 1
        elif voxels[n] < lesion_voxels[v]:
            n += 1
        else:
            v += 1
    return keys[:found]


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


@njit(cache=True)
def by_component(order, number, count):
    """``order`` again, stably sorted by the component of each voxel: one after the other stays within the cache."""
    start = np.zeros(count + 1, np.int64)
    for n in number:
        start[n + 1] += 1
    for k in range(count):
        start[k + 1] += start[k]
    result = np.empty(order.size, np.int64)
    for n in order:
        result[start[number[n]]] = n
        start[number[n]] += 1
    return result


@njit(cache=True)
def _absorb(root, other, parent, weight, head, tail, sibling):
    """The set that two become: the heavier one, with the rows that both hold until a row of this level joins them."""
    if parent[other] == root:
        return root
    found = _find(parent, other)
    if found == root:
        return root
    if weight[found] > weight[root]:
        root, found = found, root
    parent[found] = root
    weight[root] += weight[found]
    if head[found] >= 0:
        if head[root] < 0:
            head[root] = head[found]
        else:
            sibling[tail[root]] = head[found]
        tail[root] = tail[found]
    return root


@njit(cache=True)
def grow(voxels, level, order, number, size1, size2, box, place):
    """The component tree of N voxels, in the order in which rows come about as the level sinks: children first.

    ``order`` sorts the voxels by ``number`` (their component at the lowest level), then by level, highest first. Gives
    for each row its level, own voxels, first child and next sibling (-1: none), for each row without a child the sums
    of its voxels' indices, and for each voxel its row.
    """
    stride1 = box[2, 1] - box[2, 0] + 3
    stride0 = stride1 * (box[1, 1] - box[1, 0] + 3)
    size = voxels.size
    # From here on voxels go by their turn: what is looked at together then lies together.
    voxels, level, number = voxels[order], level[order], number[order]
    lines, cells = _rows(stride0, stride1), _cells(voxels, size1, size2, box, stride0, stride1)
    parent, head, tail = np.arange(size).astype(np.int32), np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    weight, sibling = np.ones(size, np.int32), np.full(size, -1, np.int32)
    row_level, own, child = np.empty(size, np.uint16), np.zeros(size, np.int64), np.empty(size, np.int32)
    sums, row_of = np.zeros((size, 3), np.int64), np.empty(size, np.int32)
    rows, start = 0, 0
    while start < size:
        stop = start
        while stop < size and level[stop] == level[start] and number[stop] == number[start]:
            cell, root = cells[stop], np.int64(stop)
            place[cell] = stop + 1
            # Neighbours that are there and touch are one candidate already: the one right below or above stands for
            # all that lies beside and beyond it, and the middle of a row for the whole row.
            below, above = place[cell - stride0], place[cell + stride0]
            if below != 0:
                root = _absorb(root, below - 1, parent, weight, head, tail, sibling)
            if above != 0:
                root = _absorb(root, above - 1, parent, weight, head, tail, sibling)
            first, last = 0, 9  # of the rows that neither of them stands for
            if below != 0:
                first = 6
            if above != 0:
                last = 3
            for line in range(first, last):
                at = cell + lines[line]
                if line != 4 and place[at] != 0:
                    root = _absorb(root, place[at] - 1, parent, weight, head, tail, sibling)
                    continue
                if place[at - 1] != 0:
                    root = _absorb(root, place[at - 1] - 1, parent, weight, head, tail, sibling)
                if place[at + 1] != 0:
                    root = _absorb(root, place[at + 1] - 1, parent, weight, head, tail, sibling)
            stop += 1
        for n in range(start, stop):
            root = _find(parent, n)
            if head[root] < 0 or row_level[head[root]] != level[start]:
                row_level[rows] = level[start]
                child[rows] = head[root]
                head[root] = tail[root] = rows
                rows += 1
            row = head[root]
            own[row] += 1
            row_of[order[n]] = row
            if child[row] < 0:
                line = voxels[n] // size2
                sums[row, 0] += line // size1
                sums[row, 1] += line % size1
                sums[row, 2] += voxels[n] % size2
        start = stop
    return row_level[:rows], own[:rows], child[:rows], sibling[:rows], sums[:rows], row_of


@njit(cache=True)
def arrange(level, own, child, sibling, sums, lesion_voxels, lesion_of, sizes, strides):
    """Where each row stands when every row's descendants stand together just before it.

    Gives for each old row: its new place, the place at which its descendants begin, until (the level of the row that
    takes it over, 0 for none), voxels, peak, and the lesion (-1: none) at the middle of its highest plateau; of equal
    plateaus that of the larger candidate, then the one that comes first along x, y, z (``strides`` in memory order).
    """
    rows = level.size
    below, total = np.ones(rows, np.int32), own.copy()
    peak, point, middle = np.empty(rows, np.uint16), np.full(rows, -1, np.int32), np.empty(rows, np.int64)
    until, rooted = np.zeros(rows, np.uint16), np.ones(rows, np.bool_)
    for row in range(rows):
        if child[row] < 0:
            peak[row] = level[row]
            # The nearest voxel to the mean; a half goes up.
            where, middle[row] = 0, 0
            for axis in range(3):
                index = (2 * sums[row, axis] + own[row]) // (2 * own[row])
                where = where * sizes[axis] + index
                middle[row] += index * strides[axis]
            at = np.searchsorted(lesion_voxels, where)
            if at < lesion_voxels.size and lesion_voxels[at] == where:
                point[row] = lesion_of[at]
            continue
        best = -1
        each = child[row]
        while each >= 0:
            below[row] += below[each]
            total[row] += total[each]
            until[each], rooted[each] = level[row], False
            if best < 0 or peak[each] > peak[best]:
                best = each
            elif peak[each] == peak[best]:
                larger, equal = total[each] > total[best], total[each] == total[best]
                if larger or (equal and middle[each] < middle[best]):
                    best = each
            each = sibling[each]
        peak[row], point[row], middle[row] = peak[best], point[best], middle[best]
    place = np.empty(rows, np.int32)
    free = 0
    for row in range(rows):
        if rooted[row]:
            free += below[row]
            place[row] = free - 1
    for row in range(rows - 1, -1, -1):
        at = place[row] - 1
        each = child[row]
        while each >= 0:
            place[each] = at
            at -= below[each]
            each = sibling[each]
    return place, place - below + 1, until, total, peak, point


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

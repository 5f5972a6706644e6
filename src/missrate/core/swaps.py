"""Permutation tests of many pairs of arms at once: all pairs share their random patterns, one matrix product each.

33 arms make 528 pairs, which Holm's correction can only tell apart with some 200,000 patterns each (``draws_for``).
Shapes: A arms, P patients, Q pairs, S patterns of one chunk.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from missrate.core.resampling import EXACT_PATTERNS, PValue, label_swap, sign_flip
from missrate.core.seed import generator

Floats = NDArray[np.float64]
Pair = tuple[int, int]
CHUNK = 8192
"""So many patterns at a time stay in the processor's cache."""


def label_swaps(sums_AP2: Floats, pairs: Sequence[Pair], seed: int, *, draws: int) -> list[PValue | None]:
    """``resampling.label_swap`` of each pair of arms (two-sided); numerators and denominators of A arms.

    Pairs with few discordant patients are enumerated as there; the others share ``draws`` random patterns, in which
    patients on whom a pair agrees change nothing. None where an arm is 0/0.
    """
    known = [bool((sums_AP2[list(pair), :, 1].sum(axis=1) != 0.0).all()) for pair in pairs]
    few = [_is_few((sums_AP2[a] != sums_AP2[b]).any(axis=1)) for a, b in pairs]
    many = [q for q in range(len(pairs)) if known[q] and not few[q]]
    extreme = _swapped_extremes(sums_AP2, [pairs[q] for q in many], seed, draws)
    drawn = dict(zip(many, extreme, strict=True))
    return [
        _drawn_p(drawn[q], draws, "swap of arms within patients")
        if q in drawn
        else label_swap(sums_AP2[a], sums_AP2[b], seed, draws=draws)
        for q, (a, b) in enumerate(pairs)
    ]


def sign_flips(differences_QP: Floats, seed: int, *, draws: int) -> list[PValue | None]:
    """``resampling.sign_flip`` of each row of paired differences; nan marks a patient who is undefined in that pair."""
    rows = [row[~np.isnan(row)] for row in differences_QP]
    many = [q for q, row in enumerate(rows) if not _is_few(row != 0.0)]
    flat_MP = np.nan_to_num(differences_QP[many])
    totals_M, reach_M = flat_MP.sum(axis=1), np.abs(flat_MP).sum(axis=1)
    extreme_M = np.zeros(len(many), np.int64)
    for pattern_SP in _patterns(flat_MP.shape[1], draws, seed) if many else ():
        flipped_SM = totals_M - 2.0 * (pattern_SP @ flat_MP.T)
        extreme_M += (np.abs(flipped_SM) >= np.abs(totals_M) - 1e-12 * reach_M).sum(axis=0)
    drawn = dict(zip(many, extreme_M.tolist(), strict=True))
    return [
        _drawn_p(drawn[q], draws, "sign flip of patient means") if q in drawn else sign_flip(row, seed, draws=draws)
        for q, row in enumerate(rows)
    ]


def _is_few(discordant_P: NDArray[np.bool_]) -> bool:
    """Whether all patterns of these patients can be enumerated."""
    return bool(2.0 ** int(discordant_P.sum()) <= EXACT_PATTERNS)


def _swapped_extremes(sums_AP2: Floats, pairs: Sequence[Pair], seed: int, draws: int) -> list[int]:
    """How many patterns of each pair differ at least as much as the pair does."""
    if not pairs:
        return []
    total_2A, parts = sums_AP2.sum(axis=1).T, np.ascontiguousarray(sums_AP2.transpose(2, 1, 0))
    nothing_2A1 = np.zeros((*total_2A.shape, 1))
    observed = [abs(float(_gap(total_2A, nothing_2A1, *pair)[0])) - 1e-12 for pair in pairs]
    extreme = [0] * len(pairs)
    for pattern_SP in _patterns(sums_AP2.shape[1], draws, seed):
        # What the swapped patients hold of each arm: a pair exchanges these sums.
        held_2AS = np.ascontiguousarray((pattern_SP @ parts).transpose(0, 2, 1))
        for q, pair in enumerate(pairs):
            swapped_S = _gap(total_2A, held_2AS, *pair)
            extreme[q] += int((np.isnan(swapped_S) | (np.abs(swapped_S) >= observed[q])).sum())
    return extreme


def _gap(total_2A: Floats, held_2AS: Floats, a: int, b: int) -> Floats:
    """The difference of two arms' ratios when both exchange the sums that they hold of the swapped patients, (S,)."""
    moved_2S = held_2AS[:, b] - held_2AS[:, a]
    mine_2S, theirs_2S = total_2A[:, a, None] + moved_2S, total_2A[:, b, None] - moved_2S
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 is nan, and counts as extreme
        return np.asarray(mine_2S[0] / mine_2S[1] - theirs_2S[0] / theirs_2S[1])


def _patterns(patients: int, draws: int, seed: int) -> Iterator[Floats]:
    """Which patients are swapped in each pattern, (S, P) of 0 and 1, ``draws`` of them in all."""
    random = generator(seed, "patterns", patients, draws)
    for first in range(0, draws, CHUNK):
        yield random.integers(0, 2, size=(min(CHUNK, draws - first), patients), dtype=np.uint8).astype(np.float64)


def _drawn_p(extreme: int, draws: int, test: str) -> PValue:
    """As in ``label_swap`` (Phipson and Smyth 2010)."""
    return PValue((extreme + 1) / (draws + 1), 1.0 / (draws + 1), f"random {test}")

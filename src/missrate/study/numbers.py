"""The whole numbers in the maps of an arm, judged together: a map alone cannot tell what its numbers mean."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from missrate.core.errors import DataError
from missrate.core.foreign import scaled_by
from missrate.evaluate.summary import ALL

Numbers: TypeAlias = tuple[int, ...] | list[int] | None
"""Those of one map beside 0; none of an empty one; None of probabilities and of candidates."""
NUMBERS = ".numbers.json"
"""Beside an imported prediction of a study: what its map held."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which numbers are lesion, and which mean something: the lesion and others that somebody declared.

    Without any every number is lesion. ``perhaps`` says what a person can do where they do not fit, ``said`` who
    decided it where that was not the person, and ``as_references`` that the references' numbers mean the same here.
    """

    lesion: frozenset[int]
    known: frozenset[int]
    perhaps: str
    said: str = ""
    as_references: bool = False

    def with_known(self, more: Iterable[int]) -> "Asked":
        """Return the same with further numbers that mean something."""
        return replace(self, known=self.known | frozenset(more))


@dataclass(frozen=True, slots=True)
class Judged:
    """By case id: why a map cannot be used, and what is to be said about one that can."""

    refused: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)


def judge(held: Mapping[str, Numbers], asked: Asked, *, where: str) -> Judged:
    """Return which maps of an arm cannot be used and which hold numbers that nobody declared.

    A map may hold the lesion and whatever else was declared. Other numbers are counted as background and named, where
    they stand beside declared ones in that map or in others; a map of such numbers alone is refused. Raises DataError
    for the whole arm when no map holds a declared number, and when its numbers are scaled probabilities.
    """
    full = {case: set(numbers) for case, numbers in held.items() if numbers}
    judged = Judged(warnings={ALL: asked.said} if asked.said else {})
    for case, numbers in full.items():
        if min(numbers) < 0:
            judged.refused[case] = f"A map must hold labels of 0 or more. Got {min(numbers)}."
        elif (scale := scaled_by(numbers - asked.known)) is not None:
            judged.refused[case] = _scaled(f"{len(numbers)} whole numbers up to {max(numbers)}", scale)
    rest = {case: numbers for case, numbers in full.items() if case not in judged.refused}
    _require_labels(full, rest, asked, where)
    if asked.known and rest:
        _look_at(rest, asked, judged, fractions=any(numbers is None for numbers in held.values()))
    return judged


def _require_labels(full: dict[str, set[int]], rest: dict[str, set[int]], asked: Asked, where: str) -> None:
    """Raises DataError for an arm of scaled probabilities, and for one in which no map holds a declared number.

    Of probabilities in whole numbers a map with little in it may look like a few labels: the others show it.
    """
    together = set().union(*rest.values()) - asked.known
    everything = set().union(*full.values())
    # Where a map is scaled and others hold undeclared numbers as well, or few are left, all of them are scaled.
    alike = len(rest) < len(full) and (bool(together) or 2 * len(rest) <= len(full))
    scale = scaled_by(everything if alike else together)
    if scale is not None:
        got = f"{len(everything)} whole numbers up to {max(everything)} in {len(full)} maps"
        raise DataError(f"{where}: {_scaled(got, scale)}")
    if asked.known and rest and not any(numbers & asked.known for numbers in rest.values()):
        raise DataError(
            f"{where} must hold {_label(asked)}. Got {_listed(together)} in {len(rest)} maps, and nowhere a number "
            f"that somebody declared; {asked.perhaps}."
        )


def _look_at(rest: dict[str, set[int]], asked: Asked, judged: Judged, *, fractions: bool) -> None:
    """Adds the maps that cannot be used, and what is to be said about the others, to ``judged``."""
    beside = set().union(*(numbers for numbers in rest.values() if numbers & asked.known))
    for case, numbers in rest.items():
        strange = numbers - asked.known
        if not numbers <= beside:
            judged.refused[case] = f"{case} must hold {_label(asked)}. Got {_listed(numbers)}; {asked.perhaps}."
        elif fractions and numbers == {1} and 1 not in asked.lesion:
            judged.refused[case] = (
                f"{case} must hold fractions as the other maps do, or {_label(asked)}. Got 0 and 1 alone: nobody can "
                "tell whether 1 is certain or a label."
            )
        elif strange:
            judged.warnings[case] = (
                f"{_listed(strange)} was not declared beside {_label(asked)}: it is counted as background"
            )
    used = [numbers for case, numbers in rest.items() if case not in judged.refused]
    if used and not any(numbers & asked.lesion for numbers in used):
        nothing = f"no map holds {_label(asked)}, only {_listed(set().union(*used))}: nothing is found; {asked.perhaps}"
        judged.warnings[ALL] = f"{asked.said}; {nothing}" if asked.said else nothing


def _scaled(got: str, scale: int) -> str:
    return (
        f"A map must hold labels, or probabilities as floats in [0, 1]. Got {got}; perhaps these are probabilities "
        f"times {scale}: divide by {scale} and write floats."
    )


def _label(asked: Asked) -> str:
    return f"label {' or '.join(map(str, sorted(asked.lesion)))}"


def _listed(numbers: set[int]) -> str:
    """The first eight, in brackets, and how many there are."""
    found = sorted(numbers)
    return f"{found[:8]}{f' ({len(found)} in all)' if len(found) > 8 else ''}"

"""From one value per case to sums per patient, the form in which everything is averaged and resampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from missrate.core.types import Ratio

Term = tuple[str, Ratio | float | None]
"""A patient's id and what a metric said of one of the patient's cases."""


@dataclass(frozen=True, slots=True)
class PerPatient:
    """Numerator and denominator of a ratio of sums, patient by patient; (P,) each."""

    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]
    n: int  # terms that are defined
    undefined: int  # terms that are 0/0 or None: counted, never dropped in silence

    @property
    def value(self) -> float | None:
        """The ratio of sums, None for 0/0."""
        total = float(self.denominator.sum())
        return None if total == 0.0 else float(self.numerator.sum()) / total


def pooled(terms: Sequence[Term], patients: Sequence[str]) -> PerPatient:
    """Sums of numerators and of denominators (micro average); a float counts as value / 1. Patients give the order."""
    return _summed([(name, _parts(value)) for name, value in terms], patients)


def case_mean(terms: Sequence[Term], patients: Sequence[str]) -> PerPatient:
    """Sums of the defined values and their number (macro average over cases)."""
    return _summed([(name, _one(value)) for name, value in terms], patients)


def _parts(value: Ratio | float | None) -> tuple[float, float]:
    if isinstance(value, Ratio):
        return float(value.numerator), float(value.denominator)
    return _one(value)


def _one(value: Ratio | float | None) -> tuple[float, float]:
    number = value.value if isinstance(value, Ratio) else value
    return (0.0, 0.0) if number is None else (float(number), 1.0)


def _summed(parts: list[tuple[str, tuple[float, float]]], patients: Sequence[str]) -> PerPatient:
    index = {name: i for i, name in enumerate(patients)}
    sums = np.zeros((len(patients), 2))
    for name, (numerator, denominator) in parts:
        sums[index[name]] += numerator, denominator
    undefined = sum(denominator == 0.0 for _, (_, denominator) in parts)
    return PerPatient(sums[:, 0], sums[:, 1], n=len(parts) - undefined, undefined=undefined)

"""The exceptions of missrate. Each message is one sentence: what it must be, what we got, perhaps what to do.

MissrateError
├── InputError (also ValueError)      what a person gave cannot be used: exit 2
│   ├── ConfigError                   a study, recipe or setting: unknown key, wrong value
│   ├── UnknownNameError              a shelf (models, losses, readers, metrics) has no such member
│   └── DataError                     a scan, label or prediction of one case
│       └── GridError                 two grids that must be the same are not
├── StoreError                        a file of the project's own: not written, not readable, another schema
│   ├── LockedError                   another process works in this folder
│   └── ProvenanceError               inputs whose hashes disagree, or a test patient that was trained on
└── TrainingError                     the loss became infinite or not a number; the last good state is kept
"""

import re
from collections.abc import Iterable

MOST_CHARACTERS = 2000
LONGEST_WORD = 300
"""A message names files and values; beyond these lengths it would hold them."""


def some(names: Iterable[str]) -> str:
    """Return the first five names in their order and how many there are, for a message; "none (0 in all)"."""
    every = list(names)
    return f"{', '.join(every[:5]) or 'none'} ({len(every)} in all)"


class MissrateError(Exception):
    """Everything that missrate raises on purpose; the command line shows it as one sentence without a traceback."""

    def __str__(self) -> str:
        """One line of printable characters, whatever a file or a library put into it."""
        text = " ".join(super().__str__().split())
        text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
        text = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: f"{word[0][:200]}... ({len(word[0])} characters)", text)
        rest = len(text) - MOST_CHARACTERS + 100
        return text if len(text) <= MOST_CHARACTERS else f"{text[:-rest]}... ({rest} further characters)"


class InputError(MissrateError, ValueError):
    """What a person gave cannot be used."""


class ConfigError(InputError):
    """A study, recipe or setting has an unknown key or a wrong value."""


class UnknownNameError(InputError):
    """A shelf has no member of this name."""


class DataError(InputError):
    """One case cannot be used; the others go on."""


class GridError(DataError):
    """Two grids that must be the same are not."""


class StoreError(MissrateError):
    """A file of the project's own could not be written or read."""


class LockedError(StoreError):
    """Another process works in this folder."""


class ProvenanceError(StoreError):
    """Inputs do not belong together: their hashes disagree, or parts overlap."""


class TrainingError(MissrateError):
    """Training cannot go on."""

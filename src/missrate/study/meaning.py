"""What the numbers of a map mean, where nobody has said it: what the source's own file says, else what is there."""

import logging
from typing import Any

from missrate.core import catalog
from missrate.core.errors import DataError, InputError
from missrate.core.foreign import numbers_of
from missrate.core.types import Entry, LabelMeaning
from missrate.prepare.case import load_reference
from missrate.study.sources import SourceConfig, meaning_by_names, meaning_of

logger = logging.getLogger(__name__)
LOOKED_AT = 8
"""Maps that are read before the values that occur are believed to be all."""


def of(source: SourceConfig, entries: list[Entry]) -> tuple[LabelMeaning, str]:
    """The meaning of a source's labels, and a sentence that says who said so; empty where the user did.

    Raises InputError when nothing can be told.
    """
    reader = catalog.load("readers", source.reader)
    if source.labels is not None:
        return meaning_of(source), ""
    if reader.LESION:
        return meaning_of(source), f"Labels are those of the format {source.reader}."
    return meaning_by_names(source) or _by_value(reader, entries)


def _by_value(reader: Any, entries: list[Entry]) -> tuple[LabelMeaning, str]:
    values, damaged = _values(reader, [entry.label for entry in entries if entry.label])
    why = f"none that can be read: {damaged}" if damaged else "maps without any"
    if not values:
        raise InputError(f"Labels must say somewhere where the lesion is. Got {why}; perhaps say --lesion 1.")
    if values[0] < 1 or values[-1] > 255:
        raise InputError(f"Label values must lie in 1..255. Got {values[:8]}.")
    *others, lesion = values
    meaning = LabelMeaning(lesion=(lesion,), organ=tuple(others[:1]), background=tuple(others[1:]))
    if not others:
        return meaning, f"The only value in the maps is {lesion}: it was taken as the lesion."
    return meaning, (
        f"ASSUMED: nobody says what the values {values} mean. {lesion} was taken as the lesion and {others[0]} as the "
        "organ; say --lesion and --organ."
    )


def _values(reader: Any, locations: list[str]) -> tuple[list[int], str]:
    """The values other than 0 in maps from all over the set, sorted; and why the last one could not be read."""
    step = max(1, len(locations) // LOOKED_AT)
    found: set[int] = set()
    damaged = ""
    for location in locations[::step]:
        try:
            found.update(numbers_of(load_reference(reader, location).values_XYZ))
        except DataError as error:  # it will be refused by name when its turn comes
            damaged = str(error).rstrip(".")
            logger.debug("%s", error)
    return sorted(found), damaged

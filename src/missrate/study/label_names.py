"""What the names of labels say: which value is the lesion, by the words that data sets use for one."""

import re
from pathlib import Path

from missrate.core.errors import ConfigError
from missrate.core.types import LabelMeaning
from missrate.readers import _dataset_json

LESION_WORDS = re.compile(r"tumou?r|cancer|lesion|metasta|nodule|pdac|carcinoma|\bgtv\b|neoplas", re.IGNORECASE)
DOUBTFUL = re.compile(r"\b(no|not|without|free|outside|except|minus|around)\b|peri ?(tumou?r|lesion)", re.IGNORECASE)
"""Words that turn the meaning of a lesion's name around."""


def meaning_of(names: dict[int, str]) -> tuple[LabelMeaning, str] | None:
    """Return what named values mean, and a sentence that says so; None where no name speaks of a lesion.

    Every value with such a name is lesion; a single other one is the organ, several are background; what is called
    ignore is ignored. Raises ConfigError for names that may say the opposite, such as ``no_tumour``.
    """
    lesion = tuple(value for value, name in names.items() if value and LESION_WORDS.search(name))
    if not lesion:
        return None
    said = ", ".join(f"{value} {name}" for value, name in sorted(names.items()))
    doubtful = [names[value] for value in lesion if DOUBTFUL.search(re.sub("[_.-]", " ", names[value]))]
    if doubtful:
        raise ConfigError(
            f"labels.lesion must name the values that are lesions. Got {said}: {doubtful[0]!r} is unclear."
        )
    ignore = tuple(value for value, name in names.items() if value and name.lower() == "ignore")
    others = tuple(value for value in names if value and value not in lesion + ignore)
    organ, background = (others, ()) if len(others) == 1 else ((), others)
    meaning = LabelMeaning(lesion=lesion, organ=organ, background=background, ignore=ignore)
    ignored = f", ignored {list(ignore)}" if ignore else ""
    return (
        meaning,
        f"Labels by the source's own names ({said}): lesion {list(lesion)}, the rest {list(others)}{ignored}.",
    )


def of_predictions(folder: Path) -> LabelMeaning | None:
    """Return what the values of predictions mean by the ``dataset.json`` of their model; None without one.

    No value is lesion where no name says so, or where regions with such names overlap. Errors as in ``describing`` of
    the descriptions, and in ``meaning_of``.
    """
    value = _dataset_json.describing(folder)
    if value is None:
        return None
    classes = _dataset_json.classes(value)
    named = {name: values for name, values in classes.items() if LESION_WORDS.search(name)}
    apart = len(named) == 1 or all(len(values) == 1 for values in named.values())
    meaning_of({values[0]: name for name, values in named.items()})  # raises for names that are unclear
    lesion = {number for values in named.values() for number in values if number} if apart else set()
    every = {number for values in classes.values() for number in values if number}
    return LabelMeaning(lesion=tuple(sorted(lesion)), background=tuple(sorted(every - lesion)))

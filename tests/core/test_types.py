"""Values that pass between rooms refuse what would later be misread."""

import pytest
from pydantic import ValidationError

from missrate.core.errors import DataError
from missrate.core.types import Entry, LabelMeaning


@pytest.mark.parametrize("case_id", ["index", "a.failed", "a.numbers"])
def test_a_case_is_never_called_as_a_file_about_cases(case_id: str) -> None:
    with pytest.raises(DataError, match=f"must not be called .* Got '{case_id}'"):
        Entry(case_id, "p", None, None)
    Entry(f"{case_id}-1", case_id, None, None)  # patients have no files


def test_a_number_stands_for_one_thing() -> None:
    with pytest.raises(ValidationError, match=r"one thing only, and \[2, 3\] come twice"):
        LabelMeaning(lesion=(1, 2), organ=(2, 3), background=(3,))
    with pytest.raises(ValidationError, match=r"\[1\] come twice"):
        LabelMeaning(lesion=(1, 1))

"""The public surface is a short list."""

import missrate


def test_the_public_names_are_sorted_few_and_there() -> None:
    assert missrate.__all__ == sorted(missrate.__all__) == ["MissrateError", "__version__"]
    assert all(hasattr(missrate, name) for name in missrate.__all__)

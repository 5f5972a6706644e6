"""One stream for each (seed, purpose), the same in every process."""

from missrate.core.seed import generator, number


def test_the_same_arguments_give_the_same_stream_and_others_another() -> None:
    assert generator(1, "batch", 17).random(3).tolist() == generator(1, "batch", 17).random(3).tolist()
    purposes: list[tuple[int | str, ...]] = [("batch", 17), ("batch", 18), ("batch",), ("batc", "h")]
    streams = {number(1, *purpose) for purpose in purposes} | {number(2, "batch", 17)}
    assert len(streams) == 5


def test_pinned_value() -> None:
    # printf "(0, 'split')" | sha256sum: the first 16 hex digits, shifted right by one bit.
    # A change of this number would silently change every split and every training.
    assert number(0, "split") == 5_861_598_955_000_012_809

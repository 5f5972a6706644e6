"""TOML to frozen values: every fault is a sentence."""

from pathlib import Path

import pytest

from missrate.core.config import Frozen, fingerprint, override, parse, read_toml
from missrate.core.errors import ConfigError


class Inner(Frozen):
    steps: int = 3


class Outer(Frozen):
    inner: Inner = Inner()
    items: tuple[Inner, ...] = ()
    name: str


def test_an_unknown_key_names_the_near_one() -> None:
    with pytest.raises(
        ConfigError, match=r"study: unknown key 'inner.step'; it must be one of steps\. Perhaps 'steps'\."
    ):
        parse(Outer, {"name": "a", "inner": {"step": 4}}, where="study")


def test_an_unknown_key_inside_a_list() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'items.0.stesp'.*Perhaps 'steps'"):
        parse(Outer, {"name": "a", "items": [{"stesp": 4}]}, where="study")


def test_missing_and_wrong_values_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Outer, {"inner": {"steps": "many"}}, where="study")
    assert "'name' must be given" in str(caught.value)
    assert "Got 'many'" in str(caught.value)


def test_override_reaches_nested_tables_and_keeps_the_original() -> None:
    values = {"budget": {"steps": 3}}
    changed = override(values, ["budget.steps=500", "report.title=Mine", "split.parts={train=2}"])
    assert changed == {"budget": {"steps": 500}, "report": {"title": "Mine"}, "split": {"parts": {"train": 2}}}
    assert values == {"budget": {"steps": 3}}


@pytest.mark.parametrize("bad", ["steps", "budget.steps.more=1"])
def test_a_bad_override_is_a_sentence(bad: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        override({"budget": {"steps": 3}}, [bad])


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="readable file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [")
    with pytest.raises(ConfigError, match="must be TOML"):
        read_toml(tmp_path / "bad.toml")


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})

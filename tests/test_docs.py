"""What the documentation shows must be true: studies that parse, links that lead somewhere, no word of a registry."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from missrate.core.config import parse
from missrate.study import front
from missrate.study.config import StudyConfig, read_study

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STUDIES = [front.DEMO, *sorted((ROOT / "studies").glob("*.toml"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_studies_on_the_pages_parse(page: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        parse(StudyConfig, tomllib.loads(block), where=page.name)


@pytest.mark.parametrize("study", STUDIES, ids=lambda p: p.name)
def test_shipped_studies_are_valid(study: Path) -> None:
    if "/*" in study.read_text() and not DATA.is_dir():
        pytest.skip("its arms are folders of real data, which is not beside this clone (../shared/data)")
    value = read_study(study, [])
    assert value.evaluate.against in {arm.name for arm in value.arms}


def test_every_key_of_a_study_is_documented() -> None:
    text = (ROOT / "docs" / "study.md").read_text()
    study = StudyConfig.model_fields
    for table in ("split", "view", "budget", "evaluate", "report"):
        kind = study[table].annotation
        fields = next(k for k in (kind, *get_args(kind)) if hasattr(k, "model_fields")).model_fields
        undocumented = {"validate_every", "snapshot_every"}
        for key in fields.keys() - undocumented:
            assert f"`{key}`" in text or f" {key}" in text, f"[{table}] {key}"


def test_pins_name_no_registry() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text()
        assert "torch==2.13.0" not in lock.read_text()

"""What the documentation shows must be true: studies that parse, links that lead somewhere, no word of a registry."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from missrate.core.config import parse
from missrate.core.quantise import TOP, level_of
from missrate.study import front
from missrate.study.config import StudyConfig, read_study
from tests import drawn
from tests.furnished import furnish

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


BLOCKS = [(page, block) for page in PAGES for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_studies_on_the_pages_would_run(page: Path, block: str, tmp_path: Path) -> None:
    furnish(tmp_path, tomllib.loads(block))
    (tmp_path / "study.toml").write_text(block)
    assert "stages to do" in front.dry_run(tmp_path / "study.toml", tmp_path / "out", assign=[])


@pytest.mark.parametrize("study", STUDIES, ids=lambda p: p.name)
def test_shipped_studies_would_run(study: Path, tmp_path: Path) -> None:
    if "shared/data" in study.read_text() and not DATA.is_dir():
        pytest.skip("it names real data, which is not beside this clone (../shared/data)")
    value = read_study(study, [])
    assert value.evaluate.against in {arm.name for arm in value.arms}
    assert "stages to do" in front.dry_run(study, tmp_path / "out", assign=[])


def test_examples_of_one_new_file_work(tmp_path: Path) -> None:
    metric: dict[str, Any] = {}
    reader: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extend.md").read_text(), re.DOTALL)
    for block, names in zip(blocks, (metric, reader), strict=True):
        exec(block, names)
    # Candidates of three voxels and of one at .5; at .9 the larger one has two left.
    one = drawn.case("....../......", "995.../.....5")
    assert metric["measure"](one, level_of(0.5), drawn.OVERLAP) == 3.0
    assert metric["measure"](one, level_of(0.9), drawn.OVERLAP) == 2.0
    (tmp_path / "c.txt").write_text("1 3 0 2 4 5 6 7 8")
    assert reader["recognises"](tmp_path)
    (entry,) = reader["find"](tmp_path, reader["Config"]())
    crop = reader["load_prediction"](entry.label, (1,)).levels
    assert (entry.case_id, crop.grid.shape, crop.start) == ("c", (6, 7, 8), (1, 0, 4))
    assert crop.values_XYZ.shape == (2, 2, 1) and (crop.values_XYZ == TOP).all()


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

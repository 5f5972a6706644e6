"""One small study for all tests of the report; tests that change a file copy what they change."""

from pathlib import Path
from typing import Any

import pytest

from missrate.report import page
from tests.report.cohort import Options, make


@pytest.fixture(scope="package")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the study hands to ``page.write``. Read only."""
    return make(tmp_path_factory.mktemp("study"), Options(title="<script>alert('x')</script> & more"))


@pytest.fixture(scope="package")
def html(inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of that study."""
    out: Path = tmp_path_factory.mktemp("page") / "index.html"
    page.write(out, **inputs)
    return out.read_text(encoding="utf-8")

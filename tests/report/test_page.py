"""The whole page, from files on disk: safe, offline, the same again, and complete."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from missrate.core.errors import StoreError
from missrate.report import answer, facts, material, page
from missrate.study import side_by_side
from tests.report.cohort import QUALITY, Options, make

VOID = {"meta", "img", "br", "rect", "path", "image", "use"}


class Reader(HTMLParser):
    """Tags, attributes and text; tags that were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def write(inputs: dict[str, Any], folder: Path, **changes: Any) -> str:
    out = folder / "index.html"
    page.write(out, **(inputs | changes))
    return out.read_text(encoding="utf-8")


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A changed copy of a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    result = folder / f"changed_{path.name}"
    result.write_text(json.dumps(value))
    return result


def test_what_people_wrote_is_escaped(html: str) -> None:
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more") >= 2


def test_opens_offline_without_a_script(html: str) -> None:
    reader = Reader(html)
    assert reader.open == []
    for tag, name, value in reader.attributes:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img"}
        assert not name.startswith("on")
        if name in {"href", "src", "xlink:href", "srcset", "data"}:
            assert value.startswith(("#", "data:image/png;base64,"))
        elif not name.startswith("xmlns"):
            assert "http" not in value and "url(" not in value.replace("url(#", "")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style and "url(" not in style and "http" not in style


def test_ids_are_unique_and_every_reference_is_met(html: str) -> None:
    reader = Reader(html)
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = [value[1:] for _, name, value in reader.attributes if name in ("href", "xlink:href") and value[:1] == "#"]
    used += re.findall(r"url\(#([^)]+)\)", html)
    assert set(used) <= set(ids)


def test_the_same_inputs_give_the_same_bytes(inputs: dict[str, Any], html: str, tmp_path: Path) -> None:
    assert write(inputs, tmp_path) == html


def test_is_small_and_names_no_folder_of_this_machine(inputs: dict[str, Any], html: str) -> None:
    assert len(html.encode()) < 1_000_000
    assert "/home/somebody" not in html and str(inputs["split"].parent) not in html


def test_every_arm_stands_in_every_table(inputs: dict[str, Any], html: str) -> None:
    tables = re.findall(r"<h3>([^<]+)</h3>\s*<div class=\"scroll[^\"]*\"><table>(.*?)</table>", html, re.S)
    for title, body in tables:
        arms = set(re.findall(r'<td class="arm">.*?<span class="main">([^<]+)</span>', body))
        if title.startswith("Partition") or not arms:
            continue
        if title == "Budgets":
            assert arms == {"pretrain", *QUALITY}
        elif title == "How stable is the ranking?":
            assert arms == set(QUALITY)
        elif "against" in title or "Differences" in title:
            assert arms == set(inputs["summaries"]) - {"scratch"}
        else:
            assert arms == set(inputs["summaries"]), title
    assert len(tables) >= 12


def test_sections_come_in_order_and_explain_themselves(html: str) -> None:
    heads = re.findall(r"<h2>([^<]+)</h2>", html)
    assert heads == [
        "Answer",
        "Which cases",
        "Miss rates at four levels",
        "Comparison",
        "Over all thresholds",
        "Thresholds and training",
        "Missed lesions",
        "What this cannot say",
        "How it was made",
    ]
    assert all(caption.strip() for caption in re.findall(r'<figcaption class="read">(.*?)</figcaption>', html, re.S))
    assert html.count("<figure>") == 7 and html.count("<svg") >= 7
    assert "Scans must differ. Got the same voxels as target_000" in html  # the refused case and its reason


def test_the_values_are_those_of_the_files(inputs: dict[str, Any], html: str) -> None:
    for arm in inputs["summaries"]:
        block = json.loads(inputs["summaries"][arm].read_text())["metrics"]["lesion_miss_rate"]["pooled"]
        assert f"{block['value']:.3f}" in html
        assert f"{block['numerator']} / {block['denominator']}" in html
    for sentence in json.loads(inputs["comparison"].read_text())["answer"]:
        assert sentence in html


def test_nothing_is_blank_or_nan(html: str) -> None:
    words = " ".join(Reader(re.sub(r"<style>.*?</style>", "", html, flags=re.S)).text)
    assert not re.search(r"\b(nan|None|inf)\b", words)
    assert not re.search(r'<td[^>]*>(<i[^>]*></i>)?<span class="main">\s*</span>', html)


def test_surfaces_stand_where_they_were_measured(html: str) -> None:
    assert "<h3>Surfaces at threshold 0.5</h3>" in html and "Surfaces at the calibrated point" not in html
    assert "left out as missed" in html and "HD95 in mm, directed maximum" in html


def test_metrics_by_score_are_named_apart_from_sweeps(html: str) -> None:
    for head in ("lesion average precision", "FROC sensitivity"):
        assert f">{head}</th>" in html and f">{head} by score</th>" in html


def test_undefined_is_written_with_its_count(html: str) -> None:
    assert re.search(r"undefined \(\d+\)", html)
    assert "needs scores" in html  # the AUROC of a null arm


def test_a_point_that_was_not_admissible_is_a_row_with_the_reason(html: str) -> None:
    row = re.search(r"everything</span>(?:(?!</tr>).)*undefined \(all\): no threshold was admissible", html, re.S)
    assert row is not None
    assert "none admissible" in html


def test_equal_thresholds_are_shown_once(inputs: dict[str, Any], tmp_path: Path) -> None:
    """Without a calibrated point only the fixed one remains, and the page says so."""

    def drop(value: dict[str, Any]) -> None:
        entries = [value, *value["also"]]
        fixed = [e for e in entries if e["operating_point"]["name"] == "0.5"]
        value.update({key: fixed[0][key] for key in ("operating_point", "matching", "metrics")})
        value["also"] = fixed[1:]

    summaries = {arm: changed(path, _folder(tmp_path, arm), drop) for arm, path in inputs["summaries"].items()}
    html = write(inputs, tmp_path, summaries=summaries)
    assert html.count("<h3>The four levels at threshold 0.5</h3>") == 1 and "the calibrated point" not in html
    assert "(chosen on" not in html


def test_nothing_missed_and_no_pictures_asked(inputs: dict[str, Any], tmp_path: Path) -> None:
    lesions = {}
    for arm, path in inputs["lesions"].items():
        head, *rows = path.read_text().splitlines()
        columns = [i for i, name in enumerate(head.split(",")) if name.startswith("found_")]
        cells = [row.split(",") for row in rows]
        for row in cells:
            for i in columns:
                row[i] = "1"
        lesions[arm] = tmp_path / f"{arm}.csv"
        lesions[arm].write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    html = write(inputs, tmp_path, lesions=lesions)
    assert "No arm misses a lesion at its primary operating point" in html
    assert "base64" not in html

    study = copy.deepcopy(inputs["study"])
    study["report"]["missed_lesions"] = 0
    assert "the study asks for no pictures" in write(inputs, tmp_path, study=study)


def test_runs_without_logs_and_answers_are_said_aloud(inputs: dict[str, Any], tmp_path: Path) -> None:
    comparison = changed(inputs["comparison"], tmp_path, lambda value: value.pop("answer"))
    runs = {arm: [tmp_path / "absent"] for arm in inputs["runs"]}
    html = write(inputs, tmp_path, comparison=comparison, runs=runs)
    assert "No run left a log." in html and "not recorded" in html
    assert "The arms were not compared" in html


def test_a_file_that_is_absent_is_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"absent\.json must be readable"):
        write(inputs, tmp_path, comparison=tmp_path / "absent.json")
    with pytest.raises(StoreError, match=r"absent\.csv must be a readable table"):
        write(inputs, tmp_path, lesions=inputs["lesions"] | {"unet": tmp_path / "absent.csv"})
    assert not (tmp_path / "index.html").exists()


def test_total_steps_count_the_parents(inputs: dict[str, Any]) -> None:
    assert facts.total_steps(inputs["study"], "scratch") == 200
    assert facts.total_steps(inputs["study"], "pretrained") == 400


def test_folds_have_thresholds_of_their_own(tmp_path: Path) -> None:
    inputs = make(tmp_path, Options(patients=6, size_px=48, folds=2, pictures=2, blind=("unet",)))
    html = write(inputs, tmp_path)
    assert "Partition of target" in html and "fold 1" in html
    assert "chosen on other folds" in html and re.search(r"fold 0: [\d.]+, fold 1: [\d.]+|in every fold", html)
    given = material.read(**inputs)
    unet = next(arm for arm in given.arms if arm.name == "unet")
    assert len(unet.missed()) == len(unet.lesions)
    assert unet.threshold(0) == unet.point["thresholds"]["0"]


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_an_unequal_budget_is_marked_wherever_its_arm_is_compared(tmp_path: Path) -> None:
    inputs = make(tmp_path, Options(unequal="learning curve"))
    comparison = json.loads(inputs["comparison"].read_text())
    assert comparison["unequal"] == {"unet": "50 steps instead of 200 (learning curve)"}
    said = "unet had another budget on purpose: 50 steps instead of 200 (learning curve)"
    text = write(inputs, tmp_path)
    top = text[text.index('id="answer"') : text.index("What these miss rates cost")]
    assert said in top
    assert "unequal: learning curve" in text and "An unequal budget was given on purpose" in text
    # In every table of arms: rates, differences, who misses what, matched, ranks.
    for name, marked in (("unet", True), ("scratch", False)):
        cells = re.findall(rf'<span class="main">{name}</span>(.*?)</td>', text, re.DOTALL)
        assert len(cells) > 5 and sum("unequal" in cell for cell in cells) == (len(cells) if marked else 0)
    terminal = side_by_side.comparison_table(comparison)
    assert terminal.count("unet (unequal budget)") == 2 and said in terminal
    assert "scratch (unequal budget)" not in terminal


def test_of_many_arms_the_unequal_ones_are_named_in_the_short_answer(inputs: dict[str, Any], tmp_path: Path) -> None:
    read = material.read(**inputs)
    arms = [replace(arm, unequal="2 steps instead of 4 (time)" if arm.name == "unet" else "") for arm in read.arms]
    arms += [replace(arms[0], name=f"more{k}") for k in range(material.MANY)]
    lines = answer.short(replace(read, arms=arms))
    assert lines[-1] == "unet had another budget on purpose: 2 steps instead of 4 (time)."

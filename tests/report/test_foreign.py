"""The page of a study of predictions alone: many arms, masks without scores, labels without images."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from missrate.core.types import LESION
from missrate.report import answer, facts, forests, material, page, pictures, ranks, versus
from tests.report import foreign
from tests.report.foreign import AGAINST, ARMS
from tests.report.test_page import Reader


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return foreign.make(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def given(inputs: dict[str, Any]) -> material.Material:
    return material.read(**inputs)


@pytest.fixture(scope="module")
def html(given: material.Material) -> str:
    return page.render(given)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(Reader(re.sub(r"<style>.*?</style>", "", html, flags=re.S)).text))


def test_many_arms_of_masks_are_seen_as_such(given: material.Material) -> None:
    assert given.many and given.masks
    assert sorted(given.foreign) == ARMS


def test_arms_are_sorted_by_what_they_miss_and_null_arms_come_last(given: material.Material) -> None:
    rates = [arm.summary["metrics"]["lesion_miss_rate"]["pooled"]["value"] for arm in given.arms]
    assert rates[:-1] == sorted(rates[:-1]) and given.arms[-1].name == "nothing"
    assert rates[0] < rates[-2], "the drawing must tell arms apart"


def test_no_colour_comes_twice_in_turn_and_the_reference_stands_out(given: material.Material) -> None:
    colours = {arm.name: arm.style.colour for arm in given.arms}
    others = {colour for name, colour in colours.items() if name not in (AGAINST, "nothing")}
    assert len(others) == 1
    assert len({*others, colours[AGAINST], colours["nothing"]}) == 3


def test_every_arm_has_a_row_in_every_figure_of_arms(given: material.Material, html: str) -> None:
    figures = dict(re.findall(r"<figure>\s*<h3>([^<]+)</h3>\s*(<svg.*?</svg>)", html, re.S))
    for title, svg in figures.items():
        names = set(re.findall(r">(net\d\d)<", svg))
        assert names == set(ARMS) - ({AGAINST} if title.startswith("Differences") else set()), title
        assert len(svg) < 150_000
    assert len(figures) == 5
    few = forests.forest(given).svg
    assert float(re.search(r'height="([\d.]+)pt"', few)[1]) > 12 * 12  # type: ignore[index]


def test_what_masks_do_not_have_is_one_sentence_and_no_column(html: str) -> None:
    text = words(html)
    assert text.count("the predictions are masks: needs scores") == 1
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", html)
    assert not any("AUROC" in head or "FROC" in head or "probability" in head or "contrast" in head for head in heads)
    assert "Left out: the predictions are masks" in text and "At equal cost: left out." in text
    assert "highest probability" not in text and "at threshold" not in text


def test_nothing_is_claimed_that_this_study_does_not_have(html: str) -> None:
    text = words(html)
    for claim in ("location_prior", "trained every arm", "Calibration patients", "Loss during training", "Works"):
        assert claim not in text, claim
    assert "Nothing was trained here: 12 arms are predictions that were made elsewhere." in text
    assert "Which patients their networks were trained on is not known here" in text
    assert "Every case is a test case" in text and "There are no images here" in text


def test_the_page_names_no_folder_of_the_machine(inputs: dict[str, Any], html: str) -> None:
    assert "/home/somebody" not in html and str(inputs["split"].parent) not in html
    assert '"hospital": "net00"' in html.replace("&#34;", '"')


def test_paths_behind_words_lose_their_folders_and_addresses_stay() -> None:
    study = {
        "init": "backbone:/home/somebody/a.pt",
        "note": "see https://example.org/b/c",
        "list": ["../../d/e", "x/y"],
    }
    assert page._without_paths(study) == {
        "init": "backbone:a.pt",
        "note": "see https://example.org/b/c",
        "list": ["e", "x/y"],
    }


def test_equal_operating_points_are_one_row(given: material.Material) -> None:
    table = facts.points(given)
    assert [cell.text for cell in table.rows[0]] == [
        "all 13 arms",
        "0.5 (primary)",
        "0.5",
        "fixed in advance",
        "none",
        "not certified",
    ]
    assert len(table.rows) == 1


def test_equal_remarks_share_a_line(given: material.Material) -> None:
    lines = facts.problems(given)
    assert sum("the voxels are said to be larger" in line for line in lines) == 1
    assert any(line.startswith("all 12 arms but null arms: ") for line in lines)
    assert f"{ARMS[0]}: 1 prediction of no known case, left alone: stranger." in lines


def test_the_answer_counts_and_says_what_it_costs(given: material.Material) -> None:
    lines = answer.short(given)
    first, last = lines[0], lines[-2]
    top = given.comparison["ranks"]["lesion_miss_rate"]
    assert f"{top['top_stays']:.1%} of the resamples" in first
    assert f"{top['inseparable']} of the 11 others cannot be told from {top['top'][0]}" in first
    separable = [
        name
        for name, each in given.comparison["comparisons"].items()
        if name != "nothing" and each["metrics"]["lesion_miss_rate"]["pooled"]["shown"]
    ]
    assert "of the lesions, " in last
    assert f"and of {11 - len(separable)} no difference is shown" in last
    assert any("false positives per scan, voxel precision" in line for line in lines)
    assert len(answer.each(given)) == 11 + 1  # a line about p
    assert len(answer.null_arms(given)) == 1


def test_ranks_are_those_of_the_comparison(given: material.Material) -> None:
    table = ranks.ranks(given)
    assert table is not None
    known = given.comparison["ranks"]["lesion_miss_rate"]["arms"]
    assert {row[0].text: row[1].text for row in table.rows} == {name: str(rank["rank"]) for name, rank in known.items()}
    assert [row[1].text for row in table.rows] == sorted((row[1].text for row in table.rows), key=int)
    tied = {"top": ["a", "b"], "top_stays": 0.5, "others": 3, "inseparable": 2}
    assert ranks.top(tied) == (
        "2 arms share the first place (a, b) and keep it in 50.0% of the resamples; "
        "2 of the 3 others cannot be told from a (Holm)."
    )


def test_each_lesion_that_is_missed_stands_once_with_its_arms(given: material.Material) -> None:
    table = facts.missed_by(given)
    counts = {(row[0].text, row[2].text): int(row[-2].text) for row in table.rows}
    assert len(counts) == len(table.rows)
    assert sum(counts.values()) == sum(len(arm.missed()) for arm in given.trained_arms())
    assert "contrast (no image)" in table.read


def test_subgroups_and_bands_have_their_differences(given: material.Material, html: str) -> None:
    titles = [table.title for table in ranks.subgroups(given)]
    assert titles == ["Within each sex", "Differences in lesion miss rate within each sex"]
    bands = versus.by_band(given)
    assert bands is not None and len(bands.rows) == 12  # eleven arms and nothing
    assert all(cell.below[-1].startswith(("separable", "not separable")) for cell in bands.rows[0][1:])
    assert "Within each sex" in html and "f: 4 patients" in html


def test_several_seeds_get_a_table(inputs: dict[str, Any], tmp_path: Path) -> None:
    value = json.loads(inputs["comparison"].read_text())
    value["seeds"][ARMS[0]] = 2
    rate = value["rates"][ARMS[0]]["lesion_miss_rate"]
    rate |= {
        "value": 0.3,
        "seeds": {"values": [0.2, 0.4], "undefined": 0, "spread": {"low": 0.2, "high": 0.4, "sd": 0.1}},
    }
    changed = tmp_path / "comparison.json"
    changed.write_text(json.dumps(value))
    table = ranks.seeds(material.read(**(inputs | {"comparison": changed})))
    assert table is not None
    row = next(row for row in table.rows if row[0].text == ARMS[0])
    assert (row[1].text, row[2].text, row[2].below) == ("2", "0.300", ("0.200, 0.400", "sd 0.100"))


def test_a_certificate_gives_its_bound_and_what_came_of_it(inputs: dict[str, Any], tmp_path: Path) -> None:
    value = json.loads(inputs["summaries"][ARMS[0]].read_text())
    value["operating_point"] |= {
        "certified": True,
        "certificate": {"level": "patient", "n": 40, "bound": "at most 5 % of new patients are missed"},
    }
    changed = tmp_path / "summary.json"
    changed.write_text(json.dumps(value))
    summaries = inputs["summaries"] | {ARMS[0]: changed}
    table = facts.points(material.read(**(inputs | {"summaries": summaries})))
    cell = next(row[-1] for row in table.rows if row[0].text == ARMS[0])
    assert cell.text == "certified: at most 5 % of new patients are missed"
    assert cell.below[0] == "concluded from 40 calibration patients with a lesion"
    assert cell.below[1].startswith("here, on test patients: patient miss rate 0.")


def test_a_case_without_an_image_is_drawn_on_plain_ground(given: material.Material, html: str) -> None:
    shown = pictures.missed(given)
    assert len(shown) == 14
    for picture in shown:
        assert picture.overview is None and picture.detail.png == ""
        assert picture.detail.reference
        assert any("no image" in line and "contrast undefined" in line for line in picture.lines)
    assert "base64" not in html and html.count('class="ground"') == 14


def test_a_plane_of_a_crop_is_that_of_the_whole(given: material.Material) -> None:
    case = next(case["case_id"] for case in given.manifests["hospital"]["cases"] if case["lesions"])
    label = given.prepared["hospital"].load_label(case)
    z = int(given.describe(case, 1)["centre"][2])
    assert (pictures.plane(label, z) == pictures.axial(label.full(), z)).all()
    assert (pictures.plane(label, z) == LESION).any()
    outside = [z for z in range(label.grid.shape[2]) if not label.full()[:, :, z].any()]
    assert outside and not pictures.plane(label, outside[0]).any()


def test_a_case_that_one_arm_lacks_is_named_and_drawn_nowhere_else(inputs: dict[str, Any], tmp_path: Path) -> None:
    first = inputs["lesions"]["nothing"]
    head, *rows = first.read_text().splitlines()
    lost = rows[0].split(",")[0]
    short = tmp_path / "lesions.csv"
    short.write_text("\n".join([head, *(row for row in rows if row.split(",")[0] != lost)]) + "\n")
    value = json.loads(inputs["comparison"].read_text()) | {"left_out": {lost: ["nothing"]}}
    comparison = tmp_path / "comparison.json"
    comparison.write_text(json.dumps(value))
    given = material.read(**(inputs | {"lesions": inputs["lesions"] | {"nothing": short}, "comparison": comparison}))
    assert f"{lost} is compared in no arm: nothing lack it." in facts.problems(given)
    assert len(given.lesions()) == len(rows)
    assert "Who misses which lesion" in page.render(given)


def test_the_same_inputs_give_the_same_bytes_and_a_small_page(
    inputs: dict[str, Any], html: str, tmp_path: Path
) -> None:
    page.write(tmp_path / "index.html", **copy.deepcopy(inputs))
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == html
    assert len(html.encode()) < 600_000
    assert Reader(html).open == []
    assert "<script" not in html


def test_few_arms_of_masks_keep_their_colours_and_the_study_s_order(inputs: dict[str, Any]) -> None:
    names = [AGAINST, "net09", "net00", "nothing"]
    few = {key: {name: inputs[key][name] for name in names} for key in ("summaries", "lesions", "predictions")}
    given = material.read(**(inputs | few))
    assert [arm.name for arm in given.arms] == names and not given.many and given.masks
    assert len({arm.style.colour for arm in given.arms}) == 4
    html = page.render(given)
    assert "One mark per arm, since masks have no threshold to sweep." in html
    assert html.count(" lesions missed</summary>") == 4

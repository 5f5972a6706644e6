"""The same voxels under two ids, within a source and across sources."""

from typing import Any

from missrate.prepare import twins


def case(case_id: str, patient: str, image: str | None, label: str | None = "l") -> dict[str, Any]:
    return {"case_id": case_id, "patient_id": patient, "image_hash": image, "label_hash": label}


def reasons(*cases: dict[str, Any]) -> dict[str, str]:
    kept, refused = twins.without(list(cases))
    assert len(kept) + len(refused) == len(cases), "nothing is lost"
    return {row["case_id"]: row["reason"] for row in refused}


def test_the_second_scan_with_the_same_voxels_goes() -> None:
    said = reasons(case("a", "p", "1"), case("b", "p", "2"), case("c", "p", "1"))
    assert said.keys() == {"c"}
    assert "same voxels as a." in said["c"]


def test_another_label_on_the_same_voxels_is_said() -> None:
    assert "with another label" in reasons(case("a", "p", "1", "x"), case("b", "p", "1", "y"))["b"]


def test_two_patients_with_one_scan_are_one_person_and_all_of_the_second_go() -> None:
    """c is another scan of q, who is p: kept, it could be tested by a model that trained on p."""
    said = reasons(case("a", "p", "1"), case("b", "q", "1"), case("c", "q", "2"), case("d", "r", "3"))
    assert said.keys() == {"b", "c"}
    assert "b holds the voxels of a (patient p)" in said["c"]


def test_labels_count_where_there_are_no_images_and_empty_ones_say_nothing() -> None:
    assert reasons(case("a", "p", None), case("b", "q", None)).keys() == {"b"}
    assert reasons(case("a", "p", None, None), case("b", "q", None, None)) == {}


def test_across_sources_all_scans_of_a_shared_patient_are_named() -> None:
    tested = [case("t1", "x", "1"), case("t2", "y", "2")]
    trained = [case("a", "p", "1"), case("b", "p", "9"), case("c", "q", "8"), case("d", "r", None, None)]
    assert twins.across(trained, tested) == {"a": "t1", "b": "t1"}

"""Pictures and arrays of slices: how they lie, which belong together, what is refused."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from missrate.core.config import parse
from missrate.core.errors import ConfigError, DataError
from missrate.readers import _arrays, _pictures, slices
from missrate.readers._detect import detect

DATA = Path("../shared/data")


def picture(path: Path, values_YX: NDArray[Any], **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values_YX).save(path, **how)
    return path


def grey(seed: int, shape: tuple[int, ...] = (5, 4), kind: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def pairs(root: Path, names: list[str], ending: str = ".png") -> None:
    for number, name in enumerate(names):
        picture(root / "images" / f"{name}{ending}", grey(number))
        mask = np.zeros((5, 4), np.uint8)
        mask[number % 5, 1] = 255
        picture(root / "masks" / f"{name}{ending}", mask)


def found(root: Path, **options: Any) -> dict[str, tuple[str, int]]:
    """Case to patient and number of slices."""
    result = {}
    for entry in slices.find(root, slices.Config(**options)):
        result[entry.case_id] = (entry.patient_id, slices.load_map(str(entry.label)).labels_XYZ.shape[2])
    return result


def test_a_picture_lies_as_radiologists_look_at_it(tmp_path: Path) -> None:
    """Row 0 anterior, column 0 the patient's right: in RAS+ both are the last index. Slices go to the head."""
    for z in (3, 4, 5):
        values = np.zeros((5, 4), np.uint8)
        values[1, 0] = z
        picture(tmp_path / "images" / f"p_z{z}.png", values)
        picture(tmp_path / "masks" / f"p_z{z}.png", (values > 0).astype(np.uint8))
    (entry,) = slices.find(tmp_path, slices.Config(spacing_mm=(0.7, 0.8, 3.0)))
    scan, label = slices.load_image(str(entry.image)), slices.load_map(str(entry.label))
    assert scan.values_XYZ.shape == (4, 5, 3)
    assert [int(scan.values_XYZ[3, 3, z]) for z in range(3)] == [3, 4, 5]
    assert np.count_nonzero(scan.values_XYZ) == 3
    assert ((scan.values_XYZ != 0) == (label.labels_XYZ != 0)).all()
    assert scan.grid.spacing_mm == (0.7, 0.8, 3.0)
    assert (scan.intensity, scan.source_axcodes) == ("grey", "LPS")


@given(st.integers(0, 99), st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)))
def test_pages_and_scans_are_inverse(seed: int, shape: tuple[int, int, int]) -> None:
    pages = grey(seed, shape)
    assert (_pictures.to_pages(_pictures.to_scan(pages)) == pages).all()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p_z1", "p_z2", "p_z3"], {"p": ("p", 3)}),
        (["pancreas_021_z009", "pancreas_021_z010"], {"pancreas_021": ("pancreas_021", 2)}),
        (["P12-slice-004", "P12-slice-005"], {"P12": ("P12", 2)}),
        (["p_z1", "p_z3"], {"p_z1": ("p", 1), "p_z3": ("p", 1)}),
        (["0001", "0002"], {"0001": ("0001", 1), "0002": ("0002", 1)}),
        (["Anna M_1", "Anna M_2"], {"Anna_M": ("Anna_M", 2)}),
    ],
)
def test_names_give_patients_and_only_consecutive_slices_are_one_scan(
    tmp_path: Path, names: list[str], expected: dict[str, tuple[str, int]]
) -> None:
    pairs(tmp_path, names)
    assert found(tmp_path) == expected


def test_slices_of_different_size_are_cases_of_one_patient(tmp_path: Path) -> None:
    pairs(tmp_path, ["p_1", "p_2"])
    for folder in ("images", "masks"):
        picture(tmp_path / folder / "p_2.png", np.zeros((6, 4), np.uint8))
    assert found(tmp_path) == {"p_1": ("p", 1), "p_2": ("p", 1)}
    (entry,) = slices.find(tmp_path, slices.Config(stack="scan"))
    with pytest.raises(DataError, match="must have one size"):
        slices.load_image(str(entry.image))


def test_what_becomes_of_slices_can_be_demanded_and_is_said(tmp_path: Path) -> None:
    pairs(tmp_path, ["p_1", "p_2", "q_1", "q_3"])
    assert len(found(tmp_path, stack="slice")) == 4
    with pytest.raises(DataError, match="The slices of q must be consecutive"):
        found(tmp_path, stack="scan")
    assert slices.notes(tmp_path, slices.Config()) == ["4 slices: 1 patients as scans, 2 slices as cases of their own."]
    pairs(tmp_path / "bare", ["1", "2"])
    assert "give `patients`" in slices.notes(tmp_path / "bare", slices.Config())[1]


def test_pairs_are_made_by_name_and_a_half_is_not_dropped(tmp_path: Path) -> None:
    pairs(tmp_path, ["a_1", "b_1", "c_1"])
    (tmp_path / "masks" / "a_1.png").unlink()
    (tmp_path / "images" / "c_1.png").unlink()
    entries = {e.case_id: (e.image is not None, e.label is not None) for e in slices.find(tmp_path, slices.Config())}
    assert entries == {"a_1": (True, False), "b_1": (True, True), "c_1": (False, True)}


def test_one_folder_with_words_in_the_names(tmp_path: Path) -> None:
    for n in (1, 2):
        np.save(tmp_path / f"img_{n:03d}.npy", np.full((5, 4), -100 * n, np.int16))
        np.save(tmp_path / f"mask_{n:03d}.npy", np.eye(5, 4, dtype=np.uint8))
    assert detect(tmp_path) == "slices"
    entries = slices.find(tmp_path, slices.Config())
    assert [entry.case_id for entry in entries] == ["001", "002"]
    scan = slices.load_image(str(entries[1].image))
    assert scan.intensity == "hu", "numbers with a sign are no brightness"
    assert (scan.values_XYZ == -200).all()


def test_windowed_pictures_become_hu(tmp_path: Path) -> None:
    pairs(tmp_path, ["p_1"])
    picture(tmp_path / "images" / "p_1.png", np.array([[0, 51, 255, 0]] * 5, np.uint8))
    (entry,) = slices.find(tmp_path, slices.Config(hu_range=(-150.0, 250.0)))
    scan = slices.load_image(str(entry.image))
    # 51 / 255 is a fifth of 400 HU, counted from -150. Column 0 is the patient's right, the last x.
    assert scan.values_XYZ[::-1, 0, 0].tolist() == [-150.0, pytest.approx(-70.0), 250.0, -150.0]
    assert scan.intensity == "hu"


def test_a_range_for_numbers_that_have_a_sign_is_refused(tmp_path: Path) -> None:
    """It would be ignored, and 0..1 taken as HU."""
    np.save(tmp_path / "img_1.npy", np.full((5, 4), 0.5, np.float32))
    np.save(tmp_path / "mask_1.npy", np.eye(5, 4, dtype=np.uint8))
    (entry,) = slices.find(tmp_path, slices.Config(hu_range=(-150.0, 250.0)))
    with pytest.raises(DataError, match=r"must come with whole numbers without a sign\. Got float32"):
        slices.load_image(str(entry.image))


def test_sixteen_bits_keep_every_hu(tmp_path: Path) -> None:
    hu = np.arange(-32768, 32768, 16, dtype=np.int32).reshape(64, 64)
    picture(tmp_path / "images" / "p_1.png", (hu + 32768).astype(np.uint16))
    picture(tmp_path / "masks" / "p_1.png", np.zeros((64, 64), np.uint8))
    (entry,) = slices.find(tmp_path, slices.Config(hu_range=(-32768.0, 32767.0)))
    assert (np.rint(_pictures.to_pages(slices.load_image(str(entry.image)).values_XYZ)[0]) == hu).all()


def test_tiff_pages_are_slices_and_other_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(grey(n)) for n in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert (_pictures.read(tmp_path / "x.tif") == np.stack([grey(n) for n in range(3)])).all()
    pages[0].save(tmp_path / "x.png", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="an animation of 3"):
        _pictures.read(tmp_path / "x.png")
    pages[1] = Image.fromarray(grey(1, (3, 3)))
    pages[0].save(tmp_path / "y.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="must have one size"):
        _pictures.read(tmp_path / "y.tif")


def test_colours_of_a_map_are_refused_and_grey_in_three_channels_is_grey(tmp_path: Path) -> None:
    values = grey(1)
    picture(tmp_path / "grey.png", np.stack([values] * 3, axis=-1))
    assert (_pictures.read(tmp_path / "grey.png")[0] == values).all()
    picture(tmp_path / "opaque.png", np.dstack([values] * 3 + [np.full_like(values, 255)]))
    assert (_pictures.read(tmp_path / "opaque.png")[0] == values).all()
    for name, last in (("viridis", 200), ("clear", 3)):
        channels = (
            [values, values, values, np.full_like(values, last)] if name == "clear" else [values, values, 255 - values]
        )
        picture(tmp_path / f"{name}.png", np.dstack(channels))
    with pytest.raises(DataError, match="a colour map was applied"):
        _pictures.read(tmp_path / "viridis.png")
    with pytest.raises(DataError, match="must be opaque"):
        _pictures.read(tmp_path / "clear.png")


def test_a_mask_that_jpeg_blurred_is_refused_until_a_threshold_is_named(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :40]
    mask = np.where((y - 20) ** 2 + (x - 18) ** 2 < 90, 255, 0).astype(np.uint8)
    picture(tmp_path / "images" / "p_1.jpg", grey(0, (40, 40)), quality=90)
    picture(tmp_path / "masks" / "p_1.jpg", mask, quality=60)
    (entry,) = slices.find(tmp_path, slices.Config())
    with pytest.raises(DataError, match="perhaps JPEG has blurred it"):
        slices.load_map(str(entry.label))
    (entry,) = slices.find(tmp_path, slices.Config(mask_threshold=128))
    assert (_pictures.to_pages(slices.load_map(str(entry.label)).labels_XYZ)[0] == (mask > 0)).all()


def test_values_of_a_palette_count_in_masks(tmp_path: Path) -> None:
    pairs(tmp_path, ["p_1"])
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None).convert("P")
    image = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 1]))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "masks" / "p_1.png")
    assert _pictures.read(tmp_path / "masks" / "p_1.png", palette=True).tolist() == [[[0, 1], [2, 1]]]
    with pytest.raises(DataError, match="must be grey"):
        _pictures.read(tmp_path / "masks" / "p_1.png")


def test_archives_of_arrays(tmp_path: Path) -> None:
    organ, lesion = np.zeros((5, 4), np.uint8), np.zeros((5, 4), np.uint8)
    organ[1:4], lesion[2, 2] = 1, 1
    np.savez_compressed(tmp_path / "a_z1.npz", image=grey(0), organ=organ, lesion=lesion)
    np.savez_compressed(tmp_path / "a_z3.npz", image=grey(1), organ=organ)
    np.savez_compressed(tmp_path / "a_z5.npz", image=grey(1))
    assert detect(tmp_path) == "slices"
    assert slices.label_names(tmp_path) == {1: "organ", 2: "lesion"}
    first, second, third = slices.find(tmp_path, slices.Config())
    label = slices.load_map(str(first.label)).labels_XYZ
    assert (_pictures.to_pages(label)[0] == organ + lesion).all()
    assert set(np.unique(slices.load_map(str(second.label)).labels_XYZ)) == {0, 1}
    with pytest.raises(DataError, match="must hold a mask named organ, lesion"):
        slices.load_map(str(third.label))
    assert first.patient_id == third.patient_id == "a"


def test_bombs_are_refused_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "x.png", np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(_pictures, "MOST_PIXELS", 9_999)
    with pytest.raises(DataError, match="at most 9999 pixels"):
        _pictures.read(path)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "npy"])
def test_damage_is_refused_or_harmless(tmp_path: Path, ending: str) -> None:
    """Cut at many bytes, bits flipped everywhere: a DataError, or what Pillow and numpy themselves read."""
    values = grey(3, (16, 12))
    path = tmp_path / f"x.{ending}"
    if ending == "npy":
        np.save(path, values)
    else:
        picture(path, values)
    good, rng = path.read_bytes(), np.random.default_rng(0)
    variants = [good[:n] for n in range(0, len(good), max(1, len(good) // 60))]
    for _ in range(120):
        flipped = bytearray(good)
        flipped[int(rng.integers(len(good)))] ^= 1 << int(rng.integers(8))
        variants.append(bytes(flipped))
    refused = 0
    for data in variants:
        path.write_bytes(data)
        try:
            pages = _pictures.read(path)
        except DataError:
            refused += 1
            continue
        own = _own(data, ending)
        assert own is None or own.ndim != 2 or (pages[0] == own).all()
    assert refused > 20


def _own(data: bytes, ending: str) -> NDArray[Any] | None:
    """What the libraries themselves read; None where they stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.load(io.BytesIO(data)) if ending == "npy" else np.asarray(Image.open(io.BytesIO(data)))
        except ValueError:
            return None


@pytest.mark.parametrize(
    ("options", "words"),
    [({"pattern": "(.*)"}, "must have the groups"), ({"images": "nowhere"}, "must be a folder"),
     ({"pattern": r"(?P<patient>q)(?P<slice>\d)"}, "must fit every name"),
     ({"pattern": r"(?P<patient>p_1)(?P<slice>)"}, "`slice` a whole number"),
     ({"pattern": r"(?P<patient>p)_1|(?P<slice>x)"}, "`slice` a whole number"),
     ({"pattern": "("}, "must be a regular expression")],
)  # fmt: skip
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    pairs(tmp_path, ["p_1"])
    with pytest.raises(DataError, match=words):
        slices.find(tmp_path, slices.Config(**options))


def test_no_slice_takes_the_place_of_another(tmp_path: Path) -> None:
    pairs(tmp_path / "a", ["a b_1", "a_b_1"])
    with pytest.raises(DataError, match=r"Ids must be unique\. Got 'a_b_1'"):
        found(tmp_path / "a")
    # Slices 1 and 2 of the patient p_1 are the scan p_1; slice 1 of the patient p is called so, too.
    pairs(tmp_path / "b", ["p_1_1", "p_1_2", "p_1"])
    with pytest.raises(DataError, match=r"Ids must be unique\. Got 'p_1'.*perhaps say `stack`"):
        found(tmp_path / "b")
    assert found(tmp_path / "b", stack="slice") == {"p_1_1": ("p_1", 1), "p_1_2": ("p_1", 1), "p_1": ("p", 1)}


def test_endings_in_capitals_are_pictures_too(tmp_path: Path) -> None:
    pairs(tmp_path, ["p_1", "q_1"])
    for folder in ("images", "masks"):
        (tmp_path / folder / "q_1.png").rename(tmp_path / folder / "q_1.PNG")
    assert found(tmp_path) == {"p_1": ("p", 1), "q_1": ("q", 1)}
    assert (_pictures.read(tmp_path / "images" / "q_1.PNG")[0] == grey(1)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hu_range": [250, -150]}, "black < white"),
        ({"hu_range": [float("nan"), 1]}, "finite"),
        ({"spacing_mm": [-1, 1, 1]}, "greater than 0"),
        ({"spacing_mm": [1, float("inf"), 1]}, "finite"),
        ({"npz": {"labels": {"organ": 256}}}, "less than or equal to 255"),
        ({"npz": {"labels": {"organ": 0}}}, "greater than or equal to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(slices.Config, options, where="options")


def test_the_image_of_an_archive_may_have_another_name(tmp_path: Path) -> None:
    """Its size decides what is a stack, as that of ``image`` does."""
    for number, rows in ((1, 5), (2, 6), (3, 6)):
        values = np.ones((rows, 4), np.uint8)
        np.savez(tmp_path / f"p_{number}.npz", ct=values, organ=values)
    assert found(tmp_path, npz={"image": "ct"}) == {f"p_{n}": ("p", 1) for n in (1, 2, 3)}
    (tmp_path / "p_1.npz").unlink()
    assert found(tmp_path, npz={"image": "ct"}) == {"p": ("p", 2)}


def test_too_many_numbers_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100, 100), np.uint8))
    np.savez_compressed(tmp_path / "x.npz", image=np.zeros((100, 100), np.uint8))
    pages = [Image.fromarray(np.zeros(shape, np.uint8)) for shape in ((2, 2), (100, 100))]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(_pictures, "MOST_PIXELS", 9_999)
    monkeypatch.setattr(_arrays, "values_of", _unread)
    with pytest.raises(DataError, match="at most 9999"):
        _pictures.read(tmp_path / "x.npy")
    with pytest.raises(DataError, match="at most 9999"):
        _pictures.read_npz(tmp_path / "x.npz", "image")
    grey_of = _pictures._grey
    monkeypatch.setattr(_pictures, "_grey", lambda p, *a, **k: grey_of(p, *a, **k) if p.size == (2, 2) else _unread())
    with pytest.raises(DataError, match="must have one size"):
        _pictures.read(tmp_path / "x.tif")


def _unread(*_: object, **__: object) -> None:
    raise AssertionError("read in spite of its size")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_are_refused_or_harmless(tmp_path: Path, save: Any) -> None:
    """As above, for image and mask: the checksums of the archive leave nothing but what was written."""
    image, path = grey(3, (9, 7)), tmp_path / "a_1.npz"
    save(path, image=image, organ=(image > 100).astype(np.uint8))
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    flips = [(int(rng.integers(len(good))), 1 << int(rng.integers(8))) for _ in range(200)]
    variants = [good[:n] for n in range(0, len(good), max(1, len(good) // 60))]
    variants += [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
    for data in variants:
        path.write_bytes(data)
        try:
            (entry,) = slices.find(tmp_path, slices.Config())
            scan, label = slices.load_image(str(entry.image)), slices.load_map(str(entry.label))
        except DataError:
            refused += 1
            continue
        assert (_pictures.to_pages(scan.values_XYZ)[0] == image).all()
        assert (_pictures.to_pages(label.labels_XYZ)[0] == (image > 100)).all()
    assert refused > 60


@pytest.mark.skipif(not DATA.is_dir(), reason="the real slices are not on this machine")
def test_real_crops_and_slices() -> None:
    crops = slices.find(DATA / "pancreas-roi", slices.Config(hu_range=(-150.0, 250.0)))
    assert len({entry.patient_id for entry in crops}) == 47
    label = slices.load_map(next(str(e.label) for e in crops if e.case_id == "pancreas_021_z027"))
    values = np.bincount(label.labels_XYZ.ravel(), minlength=3)
    assert values[2] == 110, "the manifest's lesion_px"
    assert values[1] + values[2] >= 941, "the organ and what of the lesion lies beyond it"
    whole = slices.find(DATA / "nih-slices", slices.Config())
    assert len(whole) == 15
    scan = slices.load_image(str(whole[0].image))
    assert scan.values_XYZ.dtype == np.int16
    assert (scan.grid.shape, scan.intensity) == ((512, 512, 1), "hu")

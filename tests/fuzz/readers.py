"""A sound file of every foreign format, and all that a reader does with it."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from missrate.core import archives, catalog
from missrate.core.errors import MissrateError
from missrate.prepare.patients import patients_table
from missrate.readers._detect import Source
from missrate.split import given
from missrate.study import points as study_points
from tests.core.archives.packed import FILES, KINDS
from tests.fuzz import attempt
from tests.fuzz.target import Form, Target, made
from tests.readers import dicom_written
from tests.readers.test_nifti import save
from tests.readers.test_slices import pairs
from tests.readers.written import WRITERS

IMAGES = ("load_image", "geometry")
LABELS = ("load_map", "load_reference", "geometry")


def targets(root: Path) -> list[Target]:
    """Readers, archives and tables, written below ``root``."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((7, 6, 5)) < 0.2, rng.random((7, 6, 5)), 0).astype(np.float32)
    mask = (values > 0.1).astype(np.uint8)
    result = [
        _target(name, root / name, write(root / name, "a", values if name in ("nnunet_npz", "candidates") else mask))
        for name, write in WRITERS.items()
    ]
    result.append(_target("nifti", root / "nii", save(root / "nii" / "a.nii", mask)))
    np.savez_compressed(made(root / "npz") / "a.npz", mask.T)
    result.append(_target("npy", root / "npz", root / "npz" / "a.npz"))
    return [*result, *_pictures(root, mask), *_dicom(root), *_datasets(root, mask), *_archives(root), *_tables(root)]


def _target(name: str, folder: Path, path: Path, form: Form = "bytes", word: str = "") -> Target:
    """What some readers refuse by nature (no table is an image) is no news later."""
    usual = {str(refusal) for refusal in _refusals(folder, name)}
    assert len(usual) < len(IMAGES + LABELS), f"{name}: nothing of the sound file is read"
    return Target(f"reader {name}{word}", path, form, partial(_read, folder, name, usual))


def _read(root: Path, name: str, usual: set[str]) -> None:
    """Raises the first unusual refusal, after everything else was tried."""
    refusals = list(_refusals(root, name))
    for refusal in refusals:
        attempt.require_sentence(str(refusal))
    unusual = [refusal for refusal in refusals if str(refusal) not in usual]
    if unusual:
        raise unusual[0]


def _refusals(root: Path, name: str) -> Iterator[MissrateError]:
    """Everything that a reader does with a folder."""
    reader = catalog.load("readers", name)
    reader.recognises(root)
    found = [Source(root, name, reader).entries()]
    if "role" not in reader.Config.model_fields:  # else a flat folder holds images
        found.append(reader.find(root, reader.Config()))
    for about in (each for each in ("notes", "label_names") if hasattr(reader, each)):
        getattr(reader, about)(*([root, reader.Config()] if about == "notes" else [root]))
    for entry in (entry for entries in found for entry in entries):
        calls: list[tuple[Any, ...]] = [(loader, entry.image) for loader in IMAGES if entry.image is not None]
        if entry.label is not None:
            calls += [*((loader, entry.label) for loader in LABELS), ("load_prediction", entry.label, (1,))]
        yield from (refusal for call in calls if (refusal := _asked(reader, *call)) is not None)


def _asked(reader: Any, loader: str, *given: object) -> MissrateError | None:
    """Why a loader refuses; the next one is asked all the same."""
    try:
        getattr(reader, loader, lambda *_: None)(*given)
    except MissrateError as error:
        return error
    return None


def _pictures(root: Path, mask: np.ndarray) -> list[Target]:
    pairs(root / "slices", ["p_z1", "p_z2"])
    result = [
        _target("slices", root / "slices", root / "slices" / path) for path in ("images/p_z1.png", "masks/p_z2.png")
    ]
    for suffix in (".jpg", ".tif"):
        place = root / f"pictures{suffix}"
        for side in ("images", "masks"):
            Image.fromarray(mask[:, :, 0] * 255).save(made(place / side) / f"p_z1{suffix}")
        result.append(_target("slices", place, place / "images" / f"p_z1{suffix}"))
    return result


def _dicom(root: Path) -> list[Target]:
    scan = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
    drawn, other = root / "dicom", root / "dicom_seg"
    slices = dicom_written.series(drawn, scan, ending=".dcm")
    contours = dicom_written.rtstruct(drawn / "rt.dcm", {"GTV": [dicom_written.square(1.0, 3.0, 1.0)]})
    label = np.zeros((4, 5, 6), np.uint8)
    label[1:3, 1:3, 1:3] = 1
    segments = dicom_written.seg(other / "seg.dcm", dicom_written.series(other, scan, ending=".dcm"), label)
    return [
        _target("dicom", drawn, slices[0]),
        _target("dicom", drawn, contours, word=" RTSTRUCT"),
        _target("dicom", other, segments, word=" SEG"),
    ]


def _datasets(root: Path, mask: np.ndarray) -> list[Target]:
    result = []
    row = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    abouts: dict[str, dict[str, Any]] = {
        "msd": {"labels": {"0": "background", "1": "tumour"}, "modality": {"0": "CT"}, "training": [row]},
        "nnunet": {"labels": {"background": 0, "tumour": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"},
    }
    for name, about in abouts.items():
        place = root / name
        save(place / "imagesTr" / f"a{'_0000' if name == 'nnunet' else ''}.nii.gz", mask)
        save(place / "labelsTr" / "a.nii.gz", mask)
        (place / "dataset.json").write_text(json.dumps({"name": "x", "numTraining": 1, **about}))
        result.append(_target(name, place, place / "dataset.json", "json", " dataset.json"))
    return result


def _archives(root: Path) -> list[Target]:
    result = []
    for name, pack in KINDS.items():
        place = made(root / "archives" / name.replace(" ", ""))
        (place / name).write_bytes(pack({key: data for key, data in FILES.items() if len(data) < 400}))
        result.append(Target("archive", place / name, "bytes", partial(_unpack, place / name, place / "into")))
    return result


def _unpack(path: Path, into: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)
    archives.unpacked(path, into)


def _tables(root: Path) -> list[Target]:
    place = made(root / "tables")
    texts: dict[str, tuple[str, Callable[[Path], object]]] = {
        "split.csv": ("case_id,fold\na,0\nb,1\n", given.read),
        "splits_final.json": ('[{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]', given.read),
        "patients.csv": ("case_id,patient_id,site\na,p,x\nb,q,y\n", patients_table),
        "seen.csv": ("patient_id\np\nq\n", study_points.read_patients),
    }
    result = []
    for name, (text, use) in texts.items():
        (place / name).write_text(text)
        forms: list[Form] = ["json", "bytes"] if name.endswith("json") else ["bytes"]
        result += [Target(f"table {name}", place / name, form, partial(use, place / name)) for form in forms]
    return result

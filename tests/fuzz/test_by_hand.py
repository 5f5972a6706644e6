"""Hostile files that were made by hand, one for each way in that somebody found: a sentence, never a traceback."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch

from missrate.core import catalog, points, store, viewed
from missrate.core.config import override, read_toml
from missrate.core.documents import Document
from missrate.core.errors import ConfigError, InputError, MissrateError, StoreError
from missrate.core.grid import Grid
from missrate.core.recipe import Recipe
from missrate.evaluate import files
from missrate.models._initial import initialise, require_weights
from missrate.study import config, front, outside
from missrate.study.stages import Estimate, Ledger, Stage
from missrate.train.state import load_snapshot
from tests.drawn import case
from tests.fuzz.command import command
from tests.predict.test_run2d import bright
from tests.readers.test_nifti import save
from tests.study import tiny
from tests.train.drawn import case as seen_case
from tests.train.drawn import recipe as training

DEEP = "[" * 100_000


class Canary:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o777)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("title = 'größe'".encode("latin-1"), "can't decode"),
        ("title = 1".encode("utf-16"), "can't decode"),
        (b"a = " + b"9" * 5000, "4300"),
        (b"a = " + DEEP.encode(), "too many levels"),
        (b"a = 1\na = 2", "overwrite"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "status", "check"])
def test_a_study_that_is_no_toml(content: bytes, reason: str, verb: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"s\.toml must be TOML in UTF-8\. Got: .*{reason}"):
        command(verb, path)()


@pytest.mark.parametrize("value", ["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[1979-05-27]"])
def test_dates_are_values_of_the_wrong_kind(value: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    path.write_text(f"{path.read_text()}\n[report]\ntitle = {value}\n")
    with pytest.raises(ConfigError, match=r"report\.title"):
        config.read_study(path, [])
    assert override({}, ["report.title=1979-05-27"])["report"]["title"] is not None
    assert override({}, ["x=" + "9" * 5000])["x"] == "9" * 5000


def test_a_byte_order_mark_is_no_part_of_a_study(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(tmp_path / "s.toml") == {"a": 1}


@pytest.mark.parametrize("name", ["../../../x", "/absolute", "..", "", "a/b", "a b", "x\n", "$x$"])
def test_sources_are_named_as_arms_are(name: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    path.write_text(path.read_text().replace("[sources.source]", f"[sources.{json.dumps(name)}]"))
    with pytest.raises(ConfigError, match="names must be letters"):
        config.read_study(path, [])


@pytest.mark.parametrize(
    "text", ["", '"0.5"', "[1]", "true", "null", "0.5", "9" * 5000, DEEP, '{"a":' * 100_000, "\xff"]
)
def test_documents_that_are_no_objects(text: str, tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    path.write_text(text, encoding="latin-1")
    for read in (points.read, points.origin, store.read_json):
        with pytest.raises(StoreError, match=r"point\.json must be (readable JSON|a JSON object)\. Got"):
            read(path)


@pytest.mark.parametrize("thresholds", [{"all": True}, {"all": "0.5"}, {"all": 7}, {"../x": 0.5}, {}, {"all": [0.5]}])
def test_an_operating_point_of_wrong_thresholds(thresholds: object, tmp_path: Path) -> None:
    value = {"schema": points.SCHEMA, "name": "x", "chosen_on": "fixed", "target": None, "certificate": None}
    store.write_json(tmp_path / "p.json", value | {"reason": None, "thresholds": thresholds})
    with pytest.raises(StoreError, match="thresholds"):
        points.read(tmp_path / "p.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(number: str, tmp_path: Path) -> None:
    class Form(Document):
        floor: float

    (tmp_path / "p.json").write_text(f'{{"floor": {number}}}')
    with pytest.raises(StoreError, match="floor: Input should be a finite number"):
        store.read_json(tmp_path / "p.json", form=Form)


def statistics(folder: Path, **changes: object) -> Path:
    files.save(folder / "a.npz", case("##", "99"))
    with zipfile.ZipFile(folder / "a.npz") as held:
        text, data = json.loads(held.read("case.json")), held.read("arrays")
    text["case"]["parts"] |= changes
    with zipfile.ZipFile(folder / "a.npz", "w") as made:
        made.writestr("case.json", json.dumps(text))
        made.writestr("arrays", data)
    return folder / "a.npz"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "code"},
        {"case_id": 7},
        {"trees": []},
        {"trees": 5},
        {"voxel_ml": "x"},
        {"inside": {"array": 0}},
        {"lesions": {"kind": "Spread", "parts": {"distance_mm": {"array": 0}, "weight": {"array": 0}}}},
        {"lesions": {"kind": "os.system", "parts": {}}},
        {"slice_voxels": {"array": 10**9}},
    ],
)
def test_statistics_that_are_damaged_where_no_checksum_looks(changes: dict[str, object], tmp_path: Path) -> None:
    files.load(statistics(tmp_path))
    with pytest.raises(StoreError, match="must be a readable statistics file"):
        files.load(statistics(tmp_path, **changes))


def test_statistics_that_are_a_bomb_or_damaged_within(tmp_path: Path) -> None:
    path = statistics(tmp_path)
    sound = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("case.json", "w") as member:
        for _ in range(1025):
            member.write(bytes(2**20))
    with pytest.raises(StoreError, match="bomb"):
        files.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("case.json", '{"schema": 1}' * 100)
    data = bytearray(path.read_bytes())
    data[40:60] = b"\xff" * 20
    for content in (bytes(data), sound[:100], sound.replace(b"PK\1\2", b"PK\1\3")):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="must be a readable statistics file"):
            files.load(path)


def test_volumes_that_are_something_else(tmp_path: Path) -> None:
    path, meta = tmp_path / "label.b2nd", {"missrate": json.dumps({"box": [[0, 1]] * 3})}
    listed = blosc2.SChunk(meta={"vlarray": {"version": 1}, **meta}, cparams={"typesize": 1})
    arrays = [
        listed.to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2)), meta={"vlarray": {"version": 1}, **meta}).to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2)), meta={"missrate": DEEP}).to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2)), meta={"missrate": "5"}).to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2)), meta={"LazyArray": 1, **meta}).to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2), "M8[s]"), meta=meta).to_cframe(),
        blosc2.asarray(np.zeros((2, 2, 2))).to_cframe(),
    ]
    for content in arrays:
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"label\.b2nd must be a (volume|scan) of missrate"):
            store.read_crop(path)
        with pytest.raises(StoreError, match=r"label\.b2nd must be a (volume|scan) of missrate"):
            store.Image(path)


def test_a_view_cut_short_is_refused_before_it_is_mapped(tmp_path: Path) -> None:
    """Beyond the end of a mapped file lies no exception but a signal that ends the process."""
    viewed.write_view(tmp_path, seen_case("p"))
    for name in ("p.image.npy", "p.label.npy", "p.lesion.npy"):
        sound = (tmp_path / name).read_bytes()
        objects = io.BytesIO()
        np.save(objects, np.array([Canary(tmp_path / "executed")]), allow_pickle=True)
        for content in (b"", sound[:40], sound[:-1], sound[: len(sound) // 2], objects.getvalue()):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(StoreError, match=f"{name} must be a whole array of a view"):
                viewed.read_view(tmp_path, "p")
        (tmp_path / name).write_bytes(sound)
    viewed.read_view(tmp_path, "p")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["empty", "text", "legacy tar", "pickle", "canary"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_initial_weights_that_are_none(kind: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{ending}"
    tarred = io.BytesIO()
    import tarfile

    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    canary = pickle.dumps(Canary(tmp_path / "executed"))
    contents = {"empty": b"", "text": b"weights", "legacy tar": tarred.getvalue(), "pickle": pickle.dumps([1])}
    path.write_bytes((contents | {"canary": canary})[kind])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ConfigError, match=rf"w\.{ending} must"):
        require_weights(f"full:{path.name}#sha256={sha256}", offline=True, folder=tmp_path)
    (tmp_path / "state.pt").write_bytes(path.read_bytes())
    assert load_snapshot(tmp_path, "identity") is None
    assert not (tmp_path / "executed").exists()
    with pytest.raises(MissrateError):
        initialise(torch.nn.Linear(1, 1), f"full:{path.name}", arm_weights=None, offline=True, folder=tmp_path)


def test_the_code_of_a_run_is_not_executed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither as model nor as loss, by the verb or by the function; with --trust-code it is, and is named."""
    run, scan = bright(tmp_path), save(tmp_path / "a.nii.gz", np.zeros((20, 20, 2), np.int16))
    code, seen, own = run / "bright.py", tmp_path / "executed", run / "recipe.toml"
    code.write_text(f"{code.read_text()}\nopen({str(seen)!r}, 'w').close()\n")
    shipped = Recipe(arm="bright", model="bright.py", config={"fault": ""}).pinned(run).to_toml()
    refused = rf"recipe\.toml must name no code of its own\. Got {code} \({store.hash_file(code)}\).*--trust-code\."
    predict = ("predict", run, scan, "--out", tmp_path / "out")
    recipe = Recipe(arm="x", model="unet2d", loss={"name": "bright.py"}, config={"decoder_channels": [8] * 5})
    own.write_text(recipe.pinned(run).to_toml())
    with pytest.raises(InputError, match=refused):
        front.predict_scans(run, [scan], tmp_path / "out")
    own.write_text(shipped)
    with pytest.raises(InputError, match=refused):
        command(*predict)()
    assert not seen.exists()
    words = [sys.executable, "-m", "missrate", *map(str, predict), "--trust-code"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and seen.exists()
    assert str(code) in ran.stderr and store.hash_file(code) in ran.stderr


def test_a_ledger_whose_key_is_a_path_moves_nothing(tmp_path: Path) -> None:
    """The first letters of an old key name the folder to which stale work is moved."""
    out, stage = tmp_path / "a" / "out", Stage("x", (), 1, ("work",), list, list, Estimate())
    (out / "work").mkdir(parents=True)
    mark: dict[str, object] = {"schema": "missrate/stage/1", "stage": "x", "key": "../../../up/", "output": None}
    mark["files"] = []
    changes: list[dict[str, object]] = [{}, {"key": "0" * 64, "files": ["../x"]}, {"key": "0" * 64, "files": ["/etc"]}]
    changes.append({"key": "0" * 64, "files": ["x" * 5000]})
    for change in changes:
        store.write_json(out / "stages" / "x.json", mark | change)
        with pytest.raises(StoreError, match="must be as missrate wrote it"):
            Ledger(out).begin(stage, "1" * 64)
    assert (out / "work").is_dir() and sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_an_export_writes_no_case_elsewhere(tmp_path: Path) -> None:
    grid = Grid.of((2, 2, 2), None)
    about: dict[str, object] = {"case_id": "../../up", "patient_id": "p", "grid": store.grid_to_json(grid)}
    about |= {"spacing_mm": None, "source_axcodes": None, "image_hash": "x", "label_hash": None, "lesion_slices": 0}
    value = {"schema": store.MANIFEST, "source": "x", "refused": 0, "excluded": [], "notes": []}
    store.write_json(tmp_path / "in" / "manifest.json", value | {"cases": [about | {"lesions": [], "warnings": []}]})
    with pytest.raises(StoreError, match=r"case_id: String should match pattern"):
        outside.export(tmp_path / "in", tmp_path / "out", "msd")
    assert not (tmp_path / "out").exists()


def test_memory_that_ran_out_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(front, "status", greedy)
    with pytest.raises(InputError, match="must fit into memory"):
        command("status", tmp_path / "s.toml")()
    monkeypatch.setattr(catalog, "names", greedy)
    with pytest.raises(InputError, match="must fit into memory"):
        command("list", "models")()


def test_a_message_is_one_line_of_bounded_length() -> None:
    text = str(InputError("first\nsecond\x1b[1m " + "x" * 10_000 + " " + "word " * 5000))
    assert text.startswith("first second\\x1b[1m xxx") and "(10000 characters)" in text
    assert text.isprintable() and len(text) < 2100 and text.endswith("further characters)")


def test_a_state_of_another_model_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name fits, the tensors do not."""
    from missrate.train import loop
    from missrate.train.state import Snapshot

    monkeypatch.setattr(loop, "load_snapshot", lambda *_: Snapshot(step=1, model={"x": torch.zeros(1)}))
    with pytest.raises(StoreError, match=r"state\.pt must be the state of this training\. Got: .*perhaps remove it"):
        loop.train(tmp_path, training(), [seen_case("p")], [], provenance={})


LONG = "x" * 5000
PLACES = {
    "path": ("[sources.target]", '[sources.target]\npath = "{}"'),
    "patients": ("[sources.target]", '[sources.target]\npatients = "{}"'),
    "reader": ('reader = "phantom"', 'reader = "{}.py"'),
    "predictions": ("[evaluate]", '[[arms]]\nname = "z"\npredictions = "{}"\n[evaluate]'),
    "all predictions": ("[evaluate]", '[[arms]]\nname = "z-*"\npredictions = "{}/*"\n[evaluate]'),
    "split": ("parts = {", 'file = "{}" # '),
}


@pytest.mark.parametrize("name", [LONG, "x/" * 3000, "a\\u0000b"])
@pytest.mark.parametrize("place", PLACES)
def test_names_that_no_file_can_have(place: str, name: str, tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    before, after = PLACES[place]
    path.write_text(path.read_text().replace(before, after.replace("{}", name), 1))
    with pytest.raises(InputError):
        command("status", path, "--out", tmp_path / "out")()


def test_a_folder_that_cannot_be_named_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        command("evaluate", "--reference", LONG, "--predictions", LONG, "--out", tmp_path / "out")()

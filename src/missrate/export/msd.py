"""The layout of the Medical Segmentation Decathlon."""

from pathlib import Path

from missrate.core import store
from missrate.core.types import LabelledScan
from missrate.export import volumes
from missrate.export.about import About, Case


def write(case: LabelledScan, out: Path, about: About) -> None:
    """``imagesTr/CASE.nii.gz`` and ``labelsTr/CASE.nii.gz``; of cases that are only tested the image, in ``imagesTs``.

    Their labels lie in ``labelsTs``, which the Decathlon keeps to itself.
    """
    part = "Tr" if about.trained(case.case_id) else "Ts"
    volumes.save(out / f"images{part}" / f"{case.case_id}.nii.gz", case.image_XYZ, case.grid)
    volumes.save(out / f"labels{part}" / f"{case.case_id}.nii.gz", about.labels(case.label_XYZ), case.grid)


def finish(out: Path, cases: list[Case], about: About) -> None:
    """``dataset.json``."""
    names = [case["case_id"] for case in cases]
    trained = [name for name in names if about.trained(name)]
    tested = [name for name in names if not about.trained(name)]
    description = {
        "name": about.name,
        "modality": {"0": "CT"},
        "tensorImageSize": "3D",
        "labels": {str(value): name for name, value in about.names().items()},
        "numTraining": len(trained),
        "numTest": len(tested),
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in trained],
        "test": [f"./imagesTs/{name}.nii.gz" for name in tested],
    }
    store.write_json(out / "dataset.json", description)

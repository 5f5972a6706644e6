"""Writes DICOM series, contours and segmentations with patient data planted in them, for tests.

The scan is IJK: columns, rows, slices; the grid's affine is in LPS, as DICOM has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

SECRET = "Zqxjk"
"""Begins every text that is planted: no output may hold it."""
SECRET_DATE, SECRET_TIME, SECRET_NUMBER = "19470831", "041517", "918273645"
UIDS = "1.2.826.0.1.3680043.8.498.77777"
PLANTED = (SECRET, SECRET_DATE, SECRET_TIME, SECRET_NUMBER, UIDS)
PROFILE: dict[str, Any] = {
    "PatientName": f"{SECRET}^Erika",
    "PatientID": SECRET_NUMBER,
    "PatientBirthDate": SECRET_DATE,
    "PatientBirthTime": SECRET_TIME,
    "PatientSex": "F",
    "PatientAddress": f"{SECRET} Street 1",
    "PatientComments": f"{SECRET} comment",
    "OtherPatientNames": f"{SECRET}^Other",
    "StudyDate": SECRET_DATE,
    "SeriesDate": SECRET_DATE,
    "AcquisitionDate": SECRET_DATE,
    "ContentDate": SECRET_DATE,
    "StudyTime": SECRET_TIME,
    "AccessionNumber": SECRET_NUMBER,
    "StudyID": SECRET_NUMBER,
    "SeriesNumber": 3,
    "Manufacturer": f"{SECRET} maker",
    "StudyDescription": f"{SECRET} study",
    "SeriesDescription": f"{SECRET} series",
    "ProtocolName": f"{SECRET} protocol",
    "InstitutionName": f"{SECRET} hospital",
    "InstitutionAddress": f"{SECRET} town",
    "ReferringPhysicianName": f"{SECRET}^Doctor",
    "OperatorsName": f"{SECRET}^Operator",
    "StationName": f"{SECRET}1",
    "DeviceSerialNumber": SECRET_NUMBER,
    "ImageComments": f"{SECRET} image",
}
AFFINE = np.array([[0.8, 0, 0, -40.0], [0, 0.8, 0, -90.0], [0, 0, 2.5, 100.0], [0, 0, 0, 1]])
"""LPS: columns to the left, rows to posterior, slices to the head."""


def dataset(modality: str, uid: str, **values: Any) -> Dataset:
    """With the planted profile and a private tag."""
    data = Dataset()
    for key, value in {**PROFILE, "Modality": modality, **values}.items():
        setattr(data, key, value)
    block = data.private_block(0x0099, f"{SECRET} maker", create=True)
    block.add_new(0x01, "LO", f"{SECRET} private {SECRET_NUMBER}")
    data.SOPInstanceUID = uid
    return data


def save(data: Dataset, path: Path, kind: str, syntax: str = ExplicitVRLittleEndian) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(kind)
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    data.file_meta = meta
    data.SOPClassUID = UID(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def uid_of(*words: object) -> str:
    """The same words give the same UID."""
    return str(generate_uid(prefix=f"{UIDS}.", entropy_srcs=[str(word) for word in words]))


def series(
    folder: Path,
    hu_IJK: NDArray[Any],
    *,
    name: str = "s",
    affine: NDArray[np.float64] = AFFINE,
    slope: float = 1.0,
    intercepts: Sequence[float] | float = -1024.0,
    ending: str = "",
    skip: Sequence[int] = (),
    **values: Any,
) -> list[Path]:
    """One file a slice, named so that their order says nothing; ``skip`` leaves slices out."""
    paths = []
    for k in range(hu_IJK.shape[2]):
        if k in skip:
            continue
        intercept = float(intercepts if isinstance(intercepts, float) else intercepts[k])
        data = ct_slice(hu_IJK[:, :, k], affine, k, name=name, slope=slope, intercept=intercept, **values)
        paths.append(save(data, folder / f"{(k * 7919) % 1000:03d}{k}{ending}", CTImageStorage))
    return paths


def ct_slice(
    hu_IJ: NDArray[Any],
    affine: NDArray[np.float64],
    k: int,
    *,
    name: str,
    slope: float = 1.0,
    intercept: float = -1024.0,
    **values: Any,
) -> Dataset:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turn = affine[:3, :2] / spacing[:2]
    given = {
        "StudyInstanceUID": uid_of(name, "study"),
        "SeriesInstanceUID": uid_of(name),
        "FrameOfReferenceUID": uid_of(name, "frame"),
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [f"{v:.6f}" for v in affine[:3, 3] + k * affine[:3, 2]],
        "ImageOrientationPatient": [f"{v:.9f}" for v in [*turn[:, 0], *turn[:, 1]]],
        "PixelSpacing": [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"],
        "SliceThickness": f"{spacing[2]:.4f}",
        "InstanceNumber": 100 - k,
        **values,
    }
    data = dataset("CT", uid_of(name, k), **given)
    data.Rows, data.Columns = hu_IJ.shape[1], hu_IJ.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    data.PixelData = np.rint((hu_IJ.T - intercept) / slope).astype("<i2").tobytes()
    return data


def rtstruct(
    path: Path,
    regions: dict[str, list[NDArray[np.float64]]],
    *,
    name: str = "s",
    affine: NDArray[np.float64] = AFFINE,
    kinds: dict[str, str] | None = None,
    shape: str = "CLOSED_PLANAR",
) -> Path:
    """``regions``: for each name its contours as points IJK."""
    data = dataset("RTSTRUCT", uid_of(name, "rt"), SeriesInstanceUID=uid_of(name, "rt series"))
    data.StudyInstanceUID = uid_of(name, "study")
    about, study, frame = Dataset(), Dataset(), Dataset()
    about.SeriesInstanceUID = uid_of(name)
    study.RTReferencedSeriesSequence = [about]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = uid_of(name, "frame"), [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for number, (title, contours) in enumerate(regions.items(), start=1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, title
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        seen.ReferencedROINumber, seen.RTROIInterpretedType = number, (kinds or {}).get(title, "")
        for points_IJK in contours:
            one = Dataset()
            points_mm = points_IJK @ affine[:3, :3].T + affine[:3, 3]
            one.ContourGeometricType, one.NumberOfContourPoints = shape, len(points_mm)
            one.ContourData = [f"{v:.4f}" for v in points_mm.ravel()]
            drawn.ContourSequence.append(one)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(drawn)
        data.RTROIObservationsSequence.append(seen)
    return save(data, path, RTStructureSetStorage)


def square(low: float, high: float, k: float) -> NDArray[np.float64]:
    """A contour around the voxels whose middles lie between two coordinates in both directions."""
    return np.array([[low, low, k], [high, low, k], [high, high, k], [low, high, k]])


def seg(path: Path, slices: Sequence[Path], label_KJI: NDArray[np.uint8], *, kind: str = "BINARY") -> Path:
    """By highdicom: segments 1.. of a label map whose frames follow the sorted slices; empty frames are left out."""
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    images = sorted((pydicom.dcmread(p) for p in slices), key=lambda d: float(d.ImagePositionPatient[2]))
    for image in images:
        image.remove_private_tags()
    segments = [
        hd.seg.SegmentDescription(
            segment_number=n,
            segment_label=f"part{n}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(1, int(label_KJI.max()) + 1)
    ]
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=label_KJI,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=uid_of("seg series", path.name),
        series_number=7,
        sop_instance_uid=uid_of("seg", path.name),
        instance_number=1,
        manufacturer=f"{SECRET} maker",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number=SECRET_NUMBER,
        omit_empty_frames=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path

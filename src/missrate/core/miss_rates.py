"""The four miss rates, and of what each is a share: for sentences."""

LEVELS = {
    "voxel_miss_rate": "the lesion voxels",
    "slice_miss_rate": "the slices with lesion",
    "lesion_miss_rate": "the lesions",
    "patient_miss_rate": "the patients with lesions",
}

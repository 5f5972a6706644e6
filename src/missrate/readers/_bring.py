"""What a person may name as a source: a path, an archive, an address, or a task of the Medical Segmentation Decathlon.

``LARDER/downloads`` keeps what was fetched, ``LARDER/unpacked`` what was unpacked.
"""

import difflib
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from missrate.core.archives import unpacked
from missrate.core.archives.members import is_rubbish
from missrate.core.download import fetch
from missrate.core.errors import ConfigError, InputError, UnknownNameError
from missrate.core.types import BytesProgress
from missrate.readers import _detect

MIRROR = "https://msd-for-monai.s3-us-west-2.amazonaws.com"
TASKS = {
    "Task01_BrainTumour": "240a19d752f0d9e9101544901065d872",
    "Task02_Heart": "06ee59366e1e5124267b774dbd654057",
    "Task03_Liver": "a90ec6c4aa7f6a3d087205e23d4e6397",
    "Task04_Hippocampus": "9d24dba78a72977dbd1d2e110310f31b",
    "Task05_Prostate": "35138f08b1efaef89d7424d2bcc928db",
    "Task06_Lung": "8afd997733c7fc0432f71255ba4e52dc",
    "Task07_Pancreas": "4f7080cfca169fa8066d17ce6eb061e4",
    "Task08_HepaticVessel": "641d79e80ec66453921d997fbf12a29c",
    "Task09_Spleen": "410d4a301da4e5b2f6f86ec3ddba524e",
    "Task10_Colon": "bad7a188931dc2f6acf72b08eb6202d0",
}
"""The tasks of the Decathlon (http://medicaldecathlon.com, CC BY-SA 4.0) and the MD5 of each archive at the mirror.

Names, mirror and checksums as in MONAI's ``monai/apps/datasets.py`` (Apache-2.0).
"""
SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")


def bring(source: str | Path, larder: Path, *, offline: bool = False, progress: BytesProgress | None = None) -> Path:
    """The folder or file that ``source`` names, on this disk and unpacked, as a reader can take it.

    ``source``: a path; ``https://HOST/PATH``, perhaps with ``#md5=HEX`` or ``#sha256=HEX``; ``msd:Task07_Pancreas``,
    or ``msd:Task07`` for short.
    A path without archives comes back as it is. Of what was unpacked, folders that hold nothing but one folder are
    passed by. Raises UnknownNameError for another task, ConfigError for another kind of address, and else what
    ``fetch`` and ``unpacked`` raise.
    """
    downloads, text = larder / "downloads", str(source)
    if isinstance(source, str) and text.startswith("msd:"):
        name = _task(text.removeprefix("msd:"))
        target, digest = downloads / f"{name}.tar", f"md5:{TASKS[name]}"
        path = fetch(f"{MIRROR}/{name}.tar", target, digest=digest, offline=offline, progress=progress)
    elif isinstance(source, str) and SCHEME.match(text):
        url, _, fragment = text.partition("#")
        path = fetch(url, downloads / _file_of(url), digest=_digest(fragment), offline=offline, progress=progress)
    else:
        path = Path(source)
    root = unpacked(path, larder / "unpacked", ours=larder, progress=progress)
    return root if root == path else descended(root)


def descended(root: Path) -> Path:
    """The first folder from ``root`` on in which a reader finds cases, or that is not just one folder (and rubbish)."""
    while True:
        held = [path for path in root.iterdir() if not is_rubbish((path.name,))]
        if len(held) != 1 or not held[0].is_dir():
            return root
        known = _detect.readers_of(root)
        # A folder of files in a folder: it may be the only case, or a flat folder of cases that somebody packed.
        flat = any(path.is_file() for path in held[0].iterdir())
        if known and (not flat or any(_finds(name, root) for name in known)):
            return root
        root = held[0]


def _finds(reader: str, root: Path) -> bool:
    try:
        return bool(_detect.source_of(root, reader).entries())
    except InputError:
        return False


def _task(name: str) -> str:
    """The whole name of a task that was named by it, or by its number alone, such as Task07."""
    short = {task.split("_")[0]: task for task in TASKS}
    if name in TASKS or name in short:
        return short.get(name, name)
    by_part = {part.lower(): task for task in TASKS for part in (task, *task.split("_"))}
    near = difflib.get_close_matches(name.lower(), by_part, n=1, cutoff=0.6)
    perhaps = f" Perhaps 'msd:{by_part[near[0]]}'." if near else ""
    raise UnknownNameError(f"msd: must be followed by one of {', '.join(TASKS)}. Got {name!r}.{perhaps}")


def _digest(fragment: str) -> str | None:
    """The checksum as ``kind:hex``; None where there is no fragment."""
    if not fragment:
        return None
    match = re.fullmatch("(md5|sha256)=([0-9A-Fa-f]+)", fragment)
    if match is None:
        raise ConfigError(f"After # an address must have md5=HEX or sha256=HEX. Got {fragment!r}.")
    return f"{match[1]}:{match[2].lower()}"


def _file_of(url: str) -> Path:
    """Where a url's file is kept: its own name, in a folder for this url."""
    name = re.sub("[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rpartition("/")[2]).lstrip("._") or "download"
    return Path(hashlib.sha256(url.encode()).hexdigest()[:8], name[-100:])

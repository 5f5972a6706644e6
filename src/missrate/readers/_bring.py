"""What a person may name as a source, to a folder or file that a reader can open."""

from pathlib import Path


def bring(source: str, folder: Path, larder: Path, *, offline: bool = False) -> Path:  # noqa: ARG001
    """``source`` below ``folder``; later also archives and addresses."""
    return folder / source

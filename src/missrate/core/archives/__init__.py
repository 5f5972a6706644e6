"""Data as it was downloaded: archives, and archives inside archives, become folders, whole or not at all.

The folder that a person named is never written to.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from missrate.core import store
from missrate.core.archives.members import (
    BY_HAND,
    CHUNK,
    ENDING,
    MOST_MEMBERS,
    Member,
    Room,
    fingerprint,
    folded,
    is_named_archive,
    is_rubbish,
    safe_parts,
    whole,
)
from missrate.core.archives.tars import of_tar
from missrate.core.archives.zips import of_zip
from missrate.core.errors import DataError, InputError
from missrate.core.types import BytesProgress

LEAST_ROOM = 2**32
MOST_RATIO = 100
"""An archive may unpack to ``LEAST_ROOM`` bytes, or to ``MOST_RATIO`` times its own size."""
DEEPEST = 4
"""How many archives may lie inside one another."""


def unpacked(root: Path, into: Path, *, ours: Path | None = None, progress: BytesProgress | None = None) -> Path:
    """A folder with the data of ``root``: its own, if there is no archive in it; else one below ``into``.

    An archive's members come to lie in ``into/<stem>-<8 hex>/``, archives inside it each in a folder named by its stem
    (by its full name where that is taken). Of a folder that holds archives there is a mirror, in which all other files
    are links. Both are kept for the next call. A file that is no archive comes back as it is. ``ours``: a folder
    below ``root`` that is no data, as ``into`` is none.
    Raises InputError when there is no ``root``; DataError for an archive that is damaged, encrypted, too large, or
    would write elsewhere; StoreError when the disk is full; LockedError while another process unpacks there.
    """
    if not root.exists():
        raise InputError(f"A source must be a folder or a file. Got {root}, which is not there.")
    besides = {path.resolve() for path in (into, ours or into)}
    found = [(PurePosixPath(root.name), root)] if root.is_file() else _files_below(root, besides)
    if not any(is_named_archive(path.name) for _, path in found):
        return root
    files = {PurePosixPath(root.name): root} if root.is_file() else _all_files_below(root, besides)
    archives = {path: _place(path, into) for path in files.values() if is_named_archive(path.name)}
    target = archives[root] if root.is_file() else _place_of_mirror(root, into, files, archives)
    if all(place.is_dir() for place in (target, *archives.values())):
        return target
    with store.lock(into), store.working_on(into):
        _remove_parts(into)
        for archive, place in archives.items():
            if not place.is_dir():
                _unpack(archive, place, progress)
        if not target.is_dir():
            _mirror(target, files, archives)
    return target


def _files_below(root: Path, besides: set[Path]) -> Iterator[tuple[PurePosixPath, Path]]:
    """Every file, and the way to it from ``root``; folders that are links are followed, but never in a circle."""
    todo = [(PurePosixPath(), root, root.resolve(), besides)]
    while todo:
        way, folder, real, above = todo.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = folder / entry.name
                    if is_rubbish((entry.name,)):
                        continue
                    if entry.is_dir():
                        below = path.resolve() if entry.is_symlink() else real / entry.name
                        if below not in above and below != real:
                            todo.append((way / entry.name, path, below, above | {real}))
                    elif entry.is_file():
                        yield way / entry.name, path
        except OSError as error:
            raise DataError(f"{folder} must be a readable folder. Got: {error.strerror or error}.") from error


def _all_files_below(root: Path, besides: set[Path]) -> dict[PurePosixPath, Path]:
    """The same in the order of their names."""
    files = dict(itertools.islice(_files_below(root, besides), MOST_MEMBERS + 1))
    if len(files) > MOST_MEMBERS:
        raise DataError(f"{root} must hold at most {MOST_MEMBERS} files. Got more; perhaps name a folder in it.")
    return dict(sorted(files.items()))


def _place(archive: Path, into: Path) -> Path:
    """Where an archive is unpacked to: another file of the same name, and the same file when it changed, elsewhere."""
    held = archive.stat()
    stem = ENDING.sub("", archive.name)
    return into / _name(stem, f"{archive.resolve()} {held.st_size} {held.st_mtime_ns}")


def _place_of_mirror(root: Path, into: Path, files: dict[PurePosixPath, Path], archives: dict[Path, Path]) -> Path:
    """Where a folder's mirror lies: another one when a file came or went, or an archive changed."""
    lines = [f"{root.resolve()} {into.resolve()}"]
    lines += [f"{way} {archives[path].name if path in archives else ''}" for way, path in files.items()]
    return into / _name(root.resolve().name or "root", "\n".join(lines))


def _name(stem: str, text: str) -> str:
    """A folder's name of bounded length: the stem, and a fingerprint of the text."""
    return f"{stem[:50]}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _remove_parts(into: Path) -> None:
    """Removes what killed processes left half made; only for who holds the lock."""
    for part in into.glob(".*.part"):
        shutil.rmtree(part)


@contextmanager
def _made(target: Path) -> Iterator[Path]:
    """A folder that becomes ``target`` when all went well, with an empty one beside it; else nothing is left."""
    part = target.with_name(f".{target.name}.part")
    try:
        (part / "tree").mkdir(parents=True)
        yield part / "tree"
        (part / "tree").replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@dataclass
class _Job:
    """What all archives inside one another share: the room, and where one that lies inside waits."""

    room: Room
    waiting: Path
    progress: BytesProgress | None


def _unpack(archive: Path, place: Path, progress: BytesProgress | None) -> None:
    with _made(place) as tree:
        most = max(LEAST_ROOM, MOST_RATIO * archive.stat().st_size)
        room = Room(str(archive), tree, most, MOST_MEMBERS)
        _fill(archive, tree, _Job(room, tree.parent, progress), label=str(archive), depth=1)


def _opened(archive: Path, label: str) -> IO[bytes]:
    with whole(label):
        return archive.open("rb")


def members(file: IO[bytes], room: Room, label: str) -> Iterator[Member]:
    """Every member in the order of the file. Raises DataError, which begins with ``label``, for whatever is wrong.

    A member's bytes must be read before the next member is asked for; its checksum is verified with the last of them,
    and the whole of a packed .tar file's with the last member.
    """
    with whole(label):
        kind = of_zip if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") else of_tar
        file.seek(0)
        yield from kind(file, room, label)


def _fill(archive: Path, folder: Path, job: _Job, *, label: str, depth: int) -> None:
    """Every member of an archive below ``folder``, and then the archives among them."""
    if depth > DEEPEST:
        raise DataError(f"{label} must lie inside at most {DEEPEST - 1} other archives. Got a bomb perhaps; {BY_HAND}.")
    names = _Names(label)
    inner: list[PurePosixPath] = []
    with _opened(archive, label) as file:
        size = archive.stat().st_size
        for member in members(file, job.room, label):
            before = len(names.known)
            way = names.add(member)
            job.room.take_names(max(1, len(names.known) - before))
            if way is None:
                continue
            if member.is_folder:
                (folder / way).mkdir(parents=True, exist_ok=True)
                continue
            (folder / way).parent.mkdir(parents=True, exist_ok=True)
            with (folder / way).open("xb") as out:
                while data := member.read(CHUNK):
                    out.write(data)
                    if job.progress is not None:
                        job.progress(label, file.tell(), size)
            if is_named_archive(way.name):
                inner.append(way)
    taken = set(names.known)
    for way in inner:
        moved = (folder / way).rename(job.waiting / f"archive-{depth}")
        below = folder / _way_of_inner(way, taken)
        below.mkdir()
        _fill(moved, below, job, label=f"{label}: {way}", depth=depth + 1)
        moved.unlink()


@dataclass
class _Names:
    """The names of an archive's members so far, as disks that know no case see them."""

    label: str
    known: dict[bytes, bytes | None] = field(default_factory=dict)
    """Each folder as it was written first; None for a file."""

    def add(self, member: Member) -> PurePosixPath | None:
        """The way to a member; None for rubbish and for the archive's own folder.

        Raises DataError for a name that leads elsewhere, and for a file that is there already.
        """
        parts = safe_parts(member.name, self.label)
        if is_rubbish(parts) or (not parts and member.is_folder):
            return None
        if not parts:
            raise DataError(f"{self.label} must name every file. Got one without a name.")
        folders = parts if member.is_folder else parts[:-1]
        clash = False
        for n in range(1, len(folders) + 1):
            exact = fingerprint("/".join(folders[:n]))
            clash |= self.known.setdefault(folded(*folders[:n]), exact) != exact
        if clash or (not member.is_folder and folded(*parts) in self.known):
            raise DataError(f"{self.label} must hold each name once, whatever its case. Got {member.name!r} again.")
        if not member.is_folder:
            self.known[folded(*parts)] = None
        return PurePosixPath(*parts)


def _way_of_inner(way: PurePosixPath, taken: set[bytes]) -> PurePosixPath:
    """The folder for an archive that lies at ``way``: named by its stem, or as itself where that is taken."""
    stem = way.with_name(ENDING.sub("", way.name) or way.name)
    if folded(*stem.parts) in taken:
        return way
    taken.add(folded(*stem.parts))
    return stem


def _mirror(target: Path, files: dict[PurePosixPath, Path], archives: dict[Path, Path]) -> None:
    """Folders of our own, with a link to each file of the source and of its unpacked archives."""
    taken = {folded(*part.parts) for way in files for part in (way, *way.parents)}
    with _made(target) as tree:
        for way, path in files.items():
            if path not in archives:
                _link(tree / way, path)
                continue
            below = tree / _way_of_inner(way, taken)
            below.mkdir(parents=True)
            for inner, real in _files_below(archives[path], set()):
                _link(below / inner, real)


def _link(link: Path, path: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(path.resolve())

"""The shelves: one file is one thing, found by its file name. The folder is the registry."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from missrate.core.errors import UnknownNameError

Shelf = Literal["models", "losses", "readers", "metrics"]
SHELVES: tuple[Shelf, ...] = get_args(Shelf)


def names(shelf: Shelf) -> list[str]:
    """What stands on a shelf, sorted; files that begin with an underscore are parts, not members. Imports none."""
    folder = importlib.import_module(f"missrate.{shelf}")
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_"))


def load(shelf: Shelf, name: str) -> ModuleType:
    """The member ``name`` of a shelf, or the user's own file when the name ends in ``.py``.

    Raises UnknownNameError that lists what there is and names the near one; there is never a default.
    """
    if name.endswith(".py"):
        return _own_file(shelf, Path(name))
    known = names(shelf)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        perhaps = f" Perhaps {near[0]!r}." if near else ""
        raise UnknownNameError(f"{shelf} must be one of {', '.join(known)}. Got {name!r}.{perhaps}")
    return importlib.import_module(f"missrate.{shelf}.{name}")


def describe(shelf: Shelf, name: str) -> str:
    """The first line of a member's docstring, read without importing it (its imports may be heavy)."""
    spec = importlib.util.find_spec(f"missrate.{shelf}.{name}")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def _own_file(shelf: Shelf, path: Path) -> ModuleType:
    if not path.is_file():
        raise UnknownNameError(f"{shelf}: a name that ends in .py must be a file. Got {str(path)!r}.")
    spec = importlib.util.spec_from_file_location(f"missrate_own_{shelf}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""The shelves: one file is one thing, found by its file name. The folder is the registry."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from missrate.core import own
from missrate.core.errors import ConfigError, MissrateError, UnknownNameError

Shelf = Literal["models", "losses", "readers", "metrics"]
SHELVES: tuple[Shelf, ...] = get_args(Shelf)
REQUIRED: dict[Shelf, tuple[str, ...]] = {
    "models": ("Config", "build"),
    "losses": ("Config", "build"),
    "readers": ("Config", "find"),
    "metrics": ("UNIT", "BETTER", "LEVEL", "measure"),
}
"""What a member of each shelf must define; tests hold the shelves' own members to it."""
ALLOWED = {"BETTER": ("lower", "higher"), "LEVEL": ("case", "patient", "cohort")}


def names(shelf: Shelf) -> list[str]:
    """What stands on a shelf, sorted; files that begin with an underscore are parts, not members. Imports none."""
    folder = importlib.import_module(f"missrate.{shelf}")
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_"))


def require_known(shelf: Shelf, name: str) -> None:
    """Raise UnknownNameError, which lists what there is and the near name, for a name that no member has.

    Nothing is imported. Whether an own file can be loaded is seen when it is.
    """
    if own.is_own(name):
        return
    known = names(shelf)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        perhaps = f" Perhaps {near[0]!r}." if near else ""
        raise UnknownNameError(f"{shelf} must be one of {', '.join(known)}. Got {name!r}.{perhaps}")


def load(shelf: Shelf, name: str) -> ModuleType:
    """The member ``name`` of a shelf, or the user's own file when the name is one (see ``core.own``).

    An own file that was not pinned is looked up from the current folder. Raises UnknownNameError as ``require_known``
    and for an absent file, ConfigError for an own file that is not as it was pinned, cannot be loaded, imports a file
    that lies beside it, or lacks what a member must have; there is never a default.
    """
    if own.is_own(name):
        return _own_file(shelf, own.pinned(name, Path()) if own.sha256_of(name) is None else name)
    require_known(shelf, name)
    return importlib.import_module(f"missrate.{shelf}.{name}")


def describe(shelf: Shelf, name: str) -> str:
    """The first line of a member's docstring, read without importing it (its imports may be heavy)."""
    return (ast.get_docstring(_parsed(shelf, name)) or "").splitlines()[0]


def constant(shelf: Shelf, name: str, key: str) -> Any:
    """The value of a member's constant, such as a model's ``DEFAULT_LOSS``, read without importing it; None without.

    Raises as ``load`` does, and ConfigError where the constant is no literal.
    """
    require_known(shelf, name)
    for statement in _parsed(shelf, name).body:
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == key for target in targets):
            assert isinstance(statement, ast.Assign | ast.AnnAssign)
            try:
                return statement.value and ast.literal_eval(statement.value)
            except ValueError as error:
                raise ConfigError(f"{key} of {own.short(name)} must be a plain value. Got an expression.") from error
    return None


def _parsed(shelf: Shelf, name: str) -> ast.Module:
    if own.is_own(name):
        try:
            return ast.parse(own.read(name))
        except (SyntaxError, ValueError) as error:
            raise _broken(shelf, own.path_of(name), error) from error
    spec = importlib.util.find_spec(f"missrate.{shelf}.{name}")
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@lru_cache
def _own_file(shelf: Shelf, name: str) -> ModuleType:
    """The module of exactly the bytes that were pinned; once in each process, as with any other module."""
    path, content = own.path_of(name), own.read(name)
    module = ModuleType(f"missrate_own_{shelf}_{path.stem}_{own.sha256_of(name)}")
    module.__file__ = str(path)
    _require_alone(shelf, path, _parsed(shelf, name))
    sys.modules[module.__name__] = module  # dataclasses and pydantic look their module up while it is made
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
        _require_whole(shelf, path, module)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise error if isinstance(error, MissrateError) else _broken(shelf, path, error) from error
    return module


def _require_whole(shelf: Shelf, path: Path, module: ModuleType) -> None:
    missing = [key for key in REQUIRED[shelf] if not hasattr(module, key)]
    if missing:
        raise ConfigError(f"{shelf}: {path.name} must define {', '.join(REQUIRED[shelf])}. Got no {missing[0]}.")
    for key, allowed in ALLOWED.items() if shelf == "metrics" else ():
        if getattr(module, key) not in allowed:
            raise ConfigError(
                f"metrics: {key} of {path.name} must be one of {', '.join(allowed)}. Got {getattr(module, key)!r}."
            )


def _require_alone(shelf: Shelf, path: Path, tree: ast.Module) -> None:
    """Raise ConfigError where an own file imports another file of its folder.

    That one would have no identity: edited, it would change results under an unchanged key. Whether it would be found
    depends on how the program was started, so it is refused always.
    """
    for node in ast.walk(tree):
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not relative else []
        beside = [name for name in modules if _lies_beside(name.partition(".")[0], path.parent)]
        if relative or beside:
            what = beside[0] if beside else "a relative import"
            raise ConfigError(
                f"{shelf}: {path.name} must be one file, for a change in another one would go unseen. Got an import "
                f"of {what} beside it; perhaps put its contents into {path.name}, or install it as a package."
            )


def _lies_beside(module: str, folder: Path) -> bool:
    """Whether ``import module`` means a file or a folder in ``folder``, and nothing that is installed."""
    if not ((folder / f"{module}.py").is_file() or (folder / module).is_dir()):
        return False
    if module in sys.builtin_module_names or module in sys.stdlib_module_names:
        return False
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else [*([spec.origin] if spec.origin else []), *(spec.submodule_search_locations or [])]
    return all(Path(place).resolve().is_relative_to(folder.resolve()) for place in places)


def _broken(shelf: Shelf, path: Path, error: BaseException) -> ConfigError:
    """What went wrong while an own file was loaded, and in which of its lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" in line {lines[-1]}" if lines else ""
    return ConfigError(
        f"{shelf}: {path.name} must be a Python file that can be loaded. Got {type(error).__name__}{where}: {error}."
    )

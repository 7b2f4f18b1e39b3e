"""Robocrystallographer imported fast: two things that its imports do at length are done when they are needed.

**The AFLOW library.** Its mineral matcher inherits from pymatgen's prototype matcher, whose module parses the AFLOW
library of prototypes with a BibTeX entry for each when it is imported: 5 s, 20 s when no file is cached. The inheriting
class has its own table (`robocrys/condense/mineral_db.json.gz`) and never reads that library. Here pymatgen's module is
loaded from its own source but for one line, so that the library is read with the first look into it; whoever looks
finds all that pymatgen has. Where the source does not have that line, the module is loaded as it is.

**Checks of inflect.** inflect has typeguard compile checks of the arguments into 23 functions when it is imported: 3 s.
Here each function is compiled so when it is first called, and checks the same; arguments of types that have passed are
not checked again.

`tests/features/describer/test_imports.py` notices a library that has changed; imports then take their time.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, overload

LIBRARY = "pymatgen.analysis.prototypes._data"
LINE = 'AFLOW_PROTOTYPE_LIBRARY = loadfn(f"{MODULE_DIR}/aflow_prototypes.json.gz")\n'
LATER = 'AFLOW_PROTOTYPE_LIBRARY = Library(f"{MODULE_DIR}/aflow_prototypes.json.gz")\n'
SIMPLE = {str, int, float, bool, type(None)}


class Library(Sequence[Any]):
    """The entries of the AFLOW library, read with the first of them."""

    def __init__(self, path: str) -> None:
        self._path = path

    @functools.cached_property
    def entries(self) -> list[Any]:
        """All of them."""
        from monty.serialization import loadfn

        entries: list[Any] = loadfn(self._path)
        return entries

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return self.entries[index]

    def __len__(self) -> int:
        return len(self.entries)


class LibraryLoader(SourceFileLoader):
    """Loads pymatgen's module with `Library` in the place of the library."""

    def exec_module(self, module: ModuleType) -> None:
        source = self.get_data(self.path).decode()
        vars(module)["Library"] = Library
        exec(compile(source.replace(LINE, LATER), self.path, "exec"), vars(module))  # noqa: S102 (pymatgen's source)


class InflectLoader(SourceFileLoader):
    """Loads inflect with functions that are checked from their first call on."""

    def exec_module(self, module: ModuleType) -> None:
        import typeguard

        at_once = typeguard.typechecked
        typeguard.typechecked = checked_when_called  # type: ignore[assignment]
        try:
            super().exec_module(module)
        finally:
            typeguard.typechecked = at_once


def checked_when_called(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as `typeguard.typechecked` makes it, which is asked when it is first called.

    And whenever other types come: numbers and words that have passed once are of the right type.
    """
    passed: set[tuple[Any, ...]] = set()

    @functools.cache
    def checked() -> Callable[..., Any]:
        import typeguard

        made: Callable[..., Any] = typeguard.typechecked(function)
        return made

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        types = (*map(type, arguments), *named, *map(type, named.values()))
        if types in passed:
            return function(*arguments, **named)
        found = checked()(*arguments, **named)
        if SIMPLE.issuperset(map(type, (*arguments[1:], *named.values()))):  # the first one is inflect's engine
            passed.add(types)
        return found

    return call


class Finder:
    """Finds these two modules, before Python's own finders do."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """None for any other module, and for a source without the line."""
        loader = {LIBRARY: LibraryLoader, "inflect": InflectLoader}.get(name)
        spec = PathFinder.find_spec(name, path, target) if loader else None
        if loader is None or spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        if name == LIBRARY and spec.loader.get_data(spec.loader.path).decode().count(LINE) != 1:
            return None
        spec.loader = loader(name, spec.loader.path)
        return spec


def install() -> None:
    """Have all this done late, from now on; of no effect once `robocrys` is imported."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)

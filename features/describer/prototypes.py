"""What makes importing Robocrystallographer slow, and nothing here reads, is read only when somebody asks for it.

Robocrystallographer's mineral matcher inherits from pymatgen's prototype matcher, whose module parses the AFLOW library
of prototypes with a BibTeX entry for each when it is imported: 5 s, 20 s when no file is cached. The inheriting class
has its own table (`robocrys/condense/mineral_db.json.gz`) and never reads that library. Here pymatgen's module is
loaded from its own source but for one line, so that the library is read with the first look into it; whoever looks
finds all that pymatgen has.

Where pymatgen's source does not have that line, its module is loaded as it is and the import takes its time;
`tests/features/describer/test_prototypes.py` then fails.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, overload

MODULE = "pymatgen.analysis.prototypes._data"
LINE = 'AFLOW_PROTOTYPE_LIBRARY = loadfn(f"{MODULE_DIR}/aflow_prototypes.json.gz")\n'
LATER = 'AFLOW_PROTOTYPE_LIBRARY = Library(f"{MODULE_DIR}/aflow_prototypes.json.gz")\n'


class Library(Sequence[Any]):
    """The entries of the AFLOW library, read with the first of them."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
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


class _Loader(SourceFileLoader):
    """Loads pymatgen's module with `Library` in the place of the library."""

    def exec_module(self, module: ModuleType) -> None:
        source = self.get_data(self.path).decode()
        vars(module)["Library"] = Library
        exec(compile(source.replace(LINE, LATER), self.path, "exec"), vars(module))  # noqa: S102 (pymatgen's source)


class Finder:
    """Finds that one module, before Python's own finders do."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """None for any other module, and for a source without the line."""
        spec = PathFinder.find_spec(name, path, target) if name == MODULE else None
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        if spec.loader.get_data(spec.loader.path).decode().count(LINE) != 1:
            return None
        spec.loader = _Loader(name, spec.loader.path)
        return spec


def install() -> None:
    """Have the library read late, from now on; of no effect once `robocrys` is imported."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)

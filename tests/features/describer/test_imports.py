"""What Robocrystallographer's imports do late is what they did at once, and a library that has changed is noticed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typeguard

from features.describer import imports

READ = """
import {first}
from pymatgen.analysis.prototypes import _data
library = _data.AFLOW_PROTOTYPE_LIBRARY
print(type(library).__name__)
print([(entry["tags"]["mineral"], entry["snl"].structure.composition.formula) for entry in library])
print(_data.WYCKOFF_MULTIPLICITY_DICT, _data.WYCKOFF_POSITION_PARAM_DICT, _data.WYCKOFF_POSITION_RELAB_DICT)
"""


def read(first: str) -> list[str]:
    """What a new process finds that has imported a module before Robocrystallographer."""
    return subprocess.run([sys.executable, "-W", "ignore", "-c", READ.format(first=first)], check=True, text=True,
                          capture_output=True, timeout=120, cwd=Path(__file__).parents[3]).stdout.splitlines()


def test_the_library_is_pymatgens_and_is_read_late() -> None:
    stock, ours = read("numpy"), read("features.describer")
    assert (stock[0], ours[0]) == ("list", "Library")
    assert stock[1:] == ours[1:]
    assert "Halite, Rock Salt" in ours[1]


def test_describing_does_not_read_it() -> None:
    importlib.import_module("features.describer.engine").Condenser()
    assert "entries" not in vars(sys.modules[imports.LIBRARY].AFLOW_PROTOTYPE_LIBRARY)


def test_the_installed_pymatgen_has_the_line() -> None:
    """If this fails, pymatgen's module has changed: compare it with `imports.LINE`."""
    package = importlib.util.find_spec("pymatgen.analysis.prototypes")
    assert package is not None
    spec = imports.Finder.find_spec(imports.LIBRARY, package.submodule_search_locations)
    assert spec is not None
    assert isinstance(spec.loader, imports.LibraryLoader)
    assert imports.Finder in sys.meta_path


def test_another_pymatgen_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "_data.py").write_text(imports.LINE * 2)
    assert imports.Finder.find_spec(imports.LIBRARY, [str(tmp_path)]) is None
    (tmp_path / "_data.py").write_text("MODULE_DIR = 'x'\n" + imports.LINE)
    assert imports.Finder.find_spec(imports.LIBRARY, [str(tmp_path)]) is not None
    assert imports.Finder.find_spec("pymatgen.analysis", [str(tmp_path)]) is None


def test_the_library_makes_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pymatgen's own matcher makes one."""
    monkeypatch.setattr("monty.serialization.loadfn", lambda _path: [{"tags": 1}, {"tags": 2}])
    assert pd.DataFrame(imports.Library("x"))["tags"].tolist() == [1, 2]


def test_inflect_checks_what_it_checked() -> None:
    """Compared with the function as typeguard makes it from the same source."""
    inflect = importlib.import_module("inflect")
    assert isinstance(inflect.__spec__.loader, imports.InflectLoader)
    late = [value for value in vars(inflect.engine).values()
            if getattr(value, "__code__", None) is inflect.engine.plural.__code__]
    assert len(late) >= 23
    engine = inflect.engine()
    assert (engine.number_to_words(12), engine.plural("axis"), engine.ordinal(3)) == ("twelve", "axes", "3rd")
    for wrong in (lambda: engine.plural(12), lambda: engine.number_to_words([])):
        with pytest.raises(typeguard.TypeCheckError):
            wrong()
    assert typeguard.typechecked.__module__.startswith("typeguard")

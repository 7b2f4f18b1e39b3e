"""What Robocrystallographer's imports do late is what they did at once, and a library that has changed is noticed."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import monty.serialization
import pandas as pd
import pytest
import typeguard

from features.describer import imports

REPO = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["library_is_pymatgens", "describing_does_not_read_it",
                                  "inflect_checks_what_it_checked"])
def test_in_a_process_that_has_imported_nothing(name: str) -> None:
    """In this one another test may have imported the libraries before ours could make it late."""
    subprocess.run([sys.executable, "-c", f"from {__name__} import {name}; {name}()"], check=True, cwd=REPO)


def library_is_pymatgens() -> None:
    """Compared with pymatgen's module, run from its source with the library's file in the place of its content."""
    monkeypatch = pytest.MonkeyPatch()
    importlib.import_module("features.describer.engine")
    ours = vars(sys.modules[imports.LIBRARY])
    read = monty.serialization.loadfn
    monkeypatch.setattr(monty.serialization, "loadfn", lambda path: path if "aflow" in path else read(path))
    stock = runpy.run_path(ours["__file__"])
    names = {name for name in stock if not name.startswith("__")}
    assert {name for name in ours if not name.startswith("__")} == names | {"Library"}
    assert ours["AFLOW_PROTOTYPE_LIBRARY"]._path == stock["AFLOW_PROTOTYPE_LIBRARY"]
    assert stock["AFLOW_PROTOTYPE_LIBRARY"].endswith(".json.gz")
    others = [name for name in names if name.isupper() and name != "AFLOW_PROTOTYPE_LIBRARY"]
    assert len(others) == 4
    assert all(ours[name] == stock[name] for name in others)


def describing_does_not_read_it() -> None:
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


def inflect_checks_what_it_checked() -> None:
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

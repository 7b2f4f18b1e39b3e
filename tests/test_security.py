"""What no line of the code does, whoever brings the files: SECURITY.md says why, and names these tests."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from features import catalog
from features.redaction import redacted
from features.store import tables
from pipelines.engine import stages
from tests.conftest import CRYSTALS

REPO = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("features", "pipelines", "model") for path in (REPO / folder).rglob("*.py"))

FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open", "pd.read_pickle",
    "pandas.read_pickle", "eval", "exec", "os.system", "os.popen", "pty.spawn", "yaml.load", "yaml.load_all",
    "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp", "tarfile.extractall", "shutil.unpack_archive",
    "ssl._create_unverified_context", "MontyDecoder", "loadfn", "torch.jit.load", "torch.hub.load", "__import__",
}
"""Calls that turn bytes into code or into any object, that ask a shell, or that trust whoever answers."""
METHODS = {"extractall", "extract"}
"""The same of objects, such as archives: they write where the archive says."""
EXCUSED = {
    ("features/describer/imports.py", "exec"): "source code of an installed package, with one line of it replaced",
    ("features/describer/imports.py", "loadfn"): "a file of that package",
    ("pipelines/executors/remote.py", "pickle.loads"): "from the process that gave this worker its work",
    ("pipelines/executors/local.py", "pickle.loads"): "of what the line before has pickled",
}
MUST = {"torch.load": {"weights_only": True},
        "from_pretrained": {"trust_remote_code": False, "local_files_only": True}}
"""What a call must say."""
MUST_NOT = {"allow_pickle": True, "shell": True, "verify": False, "trust_remote_code": True, "weights_only": False}
"""Arguments that no call has."""


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def findings(source: str, where: str) -> Iterator[str]:
    """The calls of a source file that may not be."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        said = {one.arg: one.value.value for one in node.keywords if one.arg and isinstance(one.value, ast.Constant)}
        last = name.rpartition(".")[2]
        if (name in FORBIDDEN or ("." in name and last in METHODS)) and (where, name) not in EXCUSED:
            yield f"{where}:{node.lineno}: {name}"
        for call, arguments in MUST.items():
            if name == call or name.endswith(f".{call}"):
                yield from (f"{where}:{node.lineno}: {name} without {argument}={value}"
                            for argument, value in arguments.items() if said.get(argument) is not value)
        yield from (f"{where}:{node.lineno}: {name}({argument}={value})" for argument, value in MUST_NOT.items()
                    if said.get(argument) is value)


def test_no_call_turns_files_into_code() -> None:
    assert len(SOURCES) > 200
    found = [one for path in SOURCES for one in findings(path.read_text(), path.relative_to(REPO).as_posix())]
    assert found == []


@pytest.mark.parametrize("line", [
    "pickle.loads(x)", "torch.load(x)", "torch.load(x, weights_only=False)", "np.load(x, allow_pickle=True)",
    "yaml.load(x, Loader=L)", "eval(x)", "subprocess.run(x, shell=True)", "AutoModel.from_pretrained(x)",
    "tar.extractall(x)", "requests.get(x, verify=False)",
    "AutoModel.from_pretrained(x, local_files_only=True, trust_remote_code=True)"])
def test_such_a_call_would_be_found(line: str) -> None:
    assert list(findings(line, "model/x.py"))


def test_what_is_excused_is_there() -> None:
    for (where, name), why in EXCUSED.items():
        assert any(isinstance(node, ast.Call) and name_of(node.func) == name
                   for node in ast.walk(ast.parse((REPO / where).read_text()))), why


def test_what_bandit_is_told_to_pass_over_has_a_reason() -> None:
    """ruff runs its rules (S), and says which of these are needless."""
    bare = [f"{path.relative_to(REPO)}:{number}" for folder in ("features", "pipelines", "model", "benchmarks", "tests")
            for path in sorted((REPO / folder).rglob("*.py"))
            for number, line in enumerate(path.read_text().splitlines(), start=1)
            if re.search(r"# noqa: [A-Z0-9, ]*\bS\d", line) and not re.search(r"# noqa: [A-Z0-9, ]+\(.+\)", line)]
    assert bare == []


HOSTILE = ("../../../evil", "/evil/x", "evil/../..", "evil\\..\\x", "evil%2f..", "~evil", "C:evil", "$(evil)",
           "evil\ttab", "evil;rm", "evil'--", '"evil"')
ODD = ("evil.", "evil..x", "evil+-_")


def test_an_id_is_never_a_path(tmp_path: Path) -> None:
    """What could be one is a reject, and what is taken names no file or folder, in the project or beside it."""
    root = tmp_path / "a" / "b" / "c" / "project"
    root.mkdir(parents=True)
    texts = [path.read_text() for path in sorted(CRYSTALS.glob("*.cif"))]
    (root / "crystals.jsonl").write_text("\n".join(
        json.dumps({"material_id": one, "cif": text}) for one, text in zip((*HOSTILE, *ODD), texts, strict=False)))
    (root / "params.yaml").write_text(yaml.safe_dump({"ingest": {"source": "table", "path": "crystals.jsonl"}}))
    before = set(tmp_path.parent.rglob("*evil*"))
    for stage in ("ingest", "tensorize", "split"):
        stages.run(stage, root, "serial")
    assert set(tables.read(root, "structures", ["material_id"])["material_id"].to_pylist()) == set(ODD)
    rejected = catalog.query(root, "select material_id, error from rejects").to_pylist()
    assert {(row["material_id"], row["error"]) for row in rejected} == {(one, "bad_id") for one in HOSTILE}
    assert set(tmp_path.parent.rglob("*evil*")) == before
    assert sorted(path.name for path in root.iterdir()) == ["crystals.jsonl", "data", "params.yaml"]
    assert not [path for path in tmp_path.rglob("*") if not path.is_relative_to(root) and not root.is_relative_to(path)]


def test_keys_and_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MP_API_KEY", "SOME_TOKEN", "DB_PASSWORD", "MYSECRET"):
        monkeypatch.setenv(name, f"walnut-{name}")
    monkeypatch.setenv("SHORT_KEY", "abc")
    assert redacted("walnut-MP_API_KEY walnut-SOME_TOKEN, (walnut-DB_PASSWORD)") == "*** ***, (***)"
    assert redacted("walnut-MYSECRET abc") == "*** abc"
    assert redacted("push to https://me:hunter2@host/x and ssh://:pw@h") == "push to https://***@host/x and ssh://***@h"
    assert redacted("see https://docs.example.org/a:b@c and a@b:c") == "see https://docs.example.org/a:b@c and a@b:c"


def test_the_tests_that_the_page_names_are_there() -> None:
    page = (REPO / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`", page)
    named = [(file, test) for file, test in named if file or test]
    assert len(named) > 20
    missing, last = [], ""
    for file, test in named:
        last = file or last
        path = REPO / last
        if not path.is_file() or (test and f"def {test}(" not in path.read_text()):
            missing.append(f"{last}::{test}")
    assert missing == []

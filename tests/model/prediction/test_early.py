"""What a first prediction begins with: the header without torch, and the server with what describing needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from model import checkpoint
from model.header import read_header
from model.prediction import early
from model.prediction.recipe import Recipe


def test_the_header_is_that_of_the_model(trained: Path, tmp_path: Path) -> None:
    path = checkpoint.path_of(trained)
    model = checkpoint.load(trained)
    assert read_header(path)["weights_sha256"] == model.config.weights_sha256
    assert Recipe.early(path) == Recipe.of(model.identity, model.params)
    damaged = tmp_path / "damaged"
    for content in (b"", b"\xff" * 100, path.read_bytes()[:200], b"\x02" + b"\0" * 7 + b"[]"):
        damaged.write_bytes(content)
        assert read_header(damaged) is None
        assert Recipe.early(damaged) is None
    assert read_header(tmp_path / "none") is None


def test_the_server_imports_what_describing_needs(trained: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[str, ...]] = []
    monkeypatch.setattr(early, "fork_server", begun.append)
    early.begin(tmp_path / "none")
    assert begun == []
    early.begin(checkpoint.path_of(trained))
    assert begun == [("features.describer.engine", "robocrys", "model.prediction.recipe")]
    recipe = Recipe.early(checkpoint.path_of(trained))
    assert recipe is not None
    assert set(recipe.preload) >= set(begun[0])


def test_what_comes_before_the_server_is_light() -> None:
    """Neither torch nor anything else that takes long is imported before the server is at work, nor by a worker."""
    code = ("import sys\nimport model.prediction.early\n"
            "print(sorted({'torch', 'numpy', 'pyarrow', 'pydantic', 'robocrys'} & set(sys.modules)))\n"
            "import model.prediction.recipe\n"
            "print(sorted({'torch', 'polars', 'transformers', 'sklearn'} & set(sys.modules)))")
    said = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True, timeout=60,
                          cwd=Path(__file__).parents[3]).stdout
    assert said.splitlines() == ["[]", "[]"]

"""Learning curves of several networks as one, and the plot that DVC makes of them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.curves import mean_curve
from model.params import Kind

REPO = Path(__file__).parents[2]
FILE = "data/model/learning_curve.csv"
NAN = float("nan")


def history(*epochs: tuple[float, float, float, float]) -> list[dict[str, float]]:
    names = ("train_loss", "validation_mae_fused", "validation_mae_structure", "validation_mae_text")
    return [dict(zip(names, epoch, strict=True)) for epoch in epochs]


@pytest.mark.parametrize(("kinds", "expected"), [
    (["fused", "fused"], [(1, "fused", 1.5, 3.5), (1, "structure", 1.5, 4.5), (1, "text", 1.5, 5.5),
                          (2, "fused", 4.0, 6.0), (2, "structure", 4.0, 7.0)]),
    (["structure", "structure"], [(1, "structure", 1.5, 3.5), (2, "structure", 4.0, 6.0)]),
    (["structure", "text"], [(1, "structure", 1.0, 3.0), (1, "text", 2.0, 4.0), (2, "structure", 4.0, 6.0)]),
    (["fused", "text"], [(1, "fused", 1.0, 3.0), (1, "structure", 1.0, 4.0), (1, "text", 2.0, 4.0),
                         (2, "fused", 4.0, 6.0), (2, "structure", 4.0, 7.0)]),
])
def test_each_branch_that_there_is_has_its_rows(kinds: list[Kind], expected: list[tuple[Any, ...]]) -> None:
    """The second network stops after one epoch; the first one's text branch has no error in the second."""
    curve = mean_curve(kinds, [history((1.0, 3.0, 4.0, 5.0), (4.0, 6.0, 7.0, NAN)), history((2.0, 4.0, 5.0, 6.0))])
    assert [tuple(row.values()) for row in curve] == expected
    assert {tuple(row) for row in curve} == {("epoch", "branch", "train_loss", "validation_mae")}


@pytest.mark.parametrize("kinds", [["fused"], ["structure"], ["structure", "text"]])
def test_dvc_draws_a_line_for_each(kinds: list[Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.render.match import match_defs_renderers
    from dvc.repo import Repo

    epochs = history((1.0, 3.0, 4.0, 5.0), (0.5, 2.0, 3.0, 4.0))
    curve = mean_curve(kinds, [epochs] * len(kinds))
    (tmp_path / FILE).parent.mkdir(parents=True)
    with (tmp_path / FILE).open("w") as file:
        writer = csv.DictWriter(file, list(curve[0]))
        writer.writeheader()
        writer.writerows(curve)
    plots = yaml.safe_load((REPO / "dvc.yaml").read_text())["plots"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    monkeypatch.chdir(tmp_path)
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        (match,) = match_defs_renderers(repo.plots.show(), templates_dir=str(REPO / ".dvc" / "plots"))
    assert (match.source_errors, match.definition_errors) == ({}, {})
    spec = json.loads(match.renderer.partial_html())
    drawn = {axis: spec["encoding"][axis]["field"] for axis in ("x", "y", "color")}
    points = [tuple(point[field] for field in drawn.values()) for point in spec["data"]["values"]]
    assert [(int(x), float(y), color) for x, y, color in points] == [
        (row["epoch"], row["validation_mae"], row["branch"]) for row in curve]
    assert {color for *_, color in points} == ({"fused", "structure", "text"} if kinds == ["fused"] else set(kinds))
    assert "<DVC" not in json.dumps(spec)

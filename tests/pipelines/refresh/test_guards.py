"""What a refresh does not publish unasked."""

from pathlib import Path

import pytest

from features.catalog.diff import TableChange
from features.errors import UserError
from pipelines.refresh.guards import Metrics, RefreshParams, check, params_of


def lost(removed: int, of: int, table: str = "materials") -> list[TableChange]:
    rows = 2 * of, 2 * (of - removed)  # as of texts in two wordings
    return [TableChange(table, rows, (1, 1), (of, of - removed), removed=[f"m{number}" for number in range(removed)])]


@pytest.mark.parametrize(("changes", "metrics", "said"), [
    (lost(1121, 1181), {}, r"materials: 1,121 of 1,181 crystals removed \(94\.9%; refresh\.removed allows 10\.0%\)"),
    (lost(119, 1181), {}, "119 of 1,181"),
    ([*lost(5, 1181), *lost(300, 1181, "descriptions")], {}, "descriptions: 300 of 1,181"),
    ([], {"test.mae": (0.041, 0.299)}, r"test\.mae 0\.041 → 0\.299 \(refresh\.worse allows 25% more\)"),
    ([], {"test.mae": (0.041, float("nan"))}, "nan"),
    (lost(1121, 1181), {"test.mae": (0.041, 0.299)}, "crystals removed.*; test.mae.*refresh --accept$"),
])
def test_what_has_gone_too_far_stops_it(changes: list[TableChange], metrics: dict[str, tuple[float, float]],
                                        said: str) -> None:
    with pytest.raises(UserError, match=f"^not published: .*{said}"):
        check(RefreshParams(), changes, metrics)


@pytest.mark.parametrize(("changes", "metrics"), [
    (lost(118, 1181), {}),
    (lost(7, 7), {}),  # a handful says nothing
    (lost(30, 30, "attributions"), {}),  # which crystals are explained may change
    ([], {"test.mae": (0.041, 0.051), "test.mae_high": (0.1, 0.9)}),
    ([], {"test.mae": (None, 0.3)}),
    ([], {"baseline.mean_mae": (0.1, 0.9)}),
])
def test_what_is_usual_passes(changes: list[TableChange], metrics: Metrics) -> None:
    check(RefreshParams(), changes, metrics)


def test_the_limits_are_parameters(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("refresh: {removed: 1, worse: 10}\n")
    check(params_of(tmp_path), lost(1121, 1181), {"test.mae": (0.041, 0.299)})
    (tmp_path / "params.yaml").write_text("refresh: {removed: 2}\n")
    with pytest.raises(UserError, match=r"refresh\.removed: .* less than or equal to 1"):
        params_of(tmp_path)

"""What stock said is kept and asked again only of others."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import describe
from features.views.descriptions import DescribeParams


def test_stock_is_asked_once(structures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stock(structure: Any, _params: DescribeParams, stock: bool) -> str:
        asked.append(structure)
        return f"{structure.formula}, stock {stock}"

    monkeypatch.setattr(describe, "describe", stock)
    file, (one, other) = tmp_path / "stock.parquet", [structures["mp-149"], structures["mp-22862"]]
    text, seconds = describe.StockTexts(file, DescribeParams()).of(one)
    assert (text, asked, seconds >= 0) == ("Si8, stock True", [one, one], True)  # the first is not what is timed
    again = describe.StockTexts(file, DescribeParams(timeout_s=1))
    assert (again.of(one), asked) == ((text, seconds), [one, one])
    assert again.of(other)[0] == "Na4 Cl4, stock True"
    assert asked[2:] == [other, other]
    for changed in (DescribeParams(decimals=3), DescribeParams(oxidation_states="guess")):
        before = len(asked)
        describe.StockTexts(file, changed).of(one)
        assert len(asked) == before + 2
    monkeypatch.setattr(describe, "version", lambda _: "another")
    describe.StockTexts(file, DescribeParams()).of(one)
    assert asked[-1] is one
    assert len(asked) == 10

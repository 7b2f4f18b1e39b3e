"""The real client of the optimade package against a stand-in provider."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import UserError
from features.views import materials
from features.views.materials import MaterialsParams
from pipelines.params import IngestParams
from pipelines.sources import read_units, ready
from tests.conftest import CRYSTALS
from tests.pipelines.sources.optimade_server import Provider, entries, serving


@pytest.fixture(scope="module")
def content() -> list[dict[str, Any]]:
    return entries()


@pytest.fixture
def provider(content: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Provider(content)) as running:
        yield running


def params(provider: Provider, **changes: Any) -> IngestParams:
    settings = {"base_url": provider.address, "attempts": 3, "backoff_s": 0.0, **changes}
    return IngestParams.model_validate({"source": "optimade", "optimade": settings})


def units(root: Path, chosen: IngestParams) -> dict[str, dict[str, Any]]:
    return {row["material_id"]: row for row in read_units(chosen, root).to_pylist()}


def test_a_provider_s_crystals_are_those_it_has(tmp_path: Path, provider: Provider,
                                                structures: dict[str, Any]) -> None:
    chosen = params(provider, properties={"_test_gap": "band_gap", "_test_name": "n"}, license="CC-BY-4.0",
                    citation="10.1/x")
    table = read_units(chosen, tmp_path)
    found = {row["material_id"]: row for row in table.to_pylist()}
    assert list(found) == [path.stem for path in sorted(CRYSTALS.glob("*.cif"))[:10]]
    assert [search.get("page_offset") for search in provider.asked] == [None, "4", "8"]
    one = found["mp-149"] if "mp-149" in found else found["mp-127"]
    assert json.loads(one["properties"]).keys() == {"band_gap"}
    assert (one["source"], one["license"], one["citation"]) == ("optimade", "CC-BY-4.0", "10.1/x")
    rows = materials.compute(table, MaterialsParams()).rows.to_pylist()
    assert len(rows) == 10
    for row in rows:
        assert row["last_updated"].isoformat() == "2024-11-13T08:30:00"
        assert np.isclose(row["density"], structures[row["material_id"]].density, rtol=1e-3)


def test_a_filter_is_sent_as_it_is(tmp_path: Path, provider: Provider) -> None:
    assert len(units(tmp_path, params(provider, filter="nsites<=2"))) < 10
    assert provider.asked[0]["filter"] == "nsites<=2"
    units(tmp_path, params(provider, filter='elements HAS "O" AND chemical_formula_descriptive CONTAINS "a&b#c"'))
    assert provider.asked[-1]["filter"] == 'elements HAS "O" AND chemical_formula_descriptive CONTAINS "a&b#c"'


@pytest.mark.parametrize("fault", ["429", "500", "truncated"])
def test_a_fault_that_passes_changes_nothing(tmp_path: Path, provider: Provider, fault: str) -> None:
    clean = units(tmp_path / "clean", params(provider))
    provider.faults += [fault, fault]
    assert units(tmp_path / "faulty", params(provider)) == clean


def test_a_broken_pull_goes_on_and_a_finished_one_needs_no_server(tmp_path: Path, provider: Provider) -> None:
    clean = units(tmp_path / "clean", params(provider))
    provider.faults += ["200", "503", "503", "503"]
    with pytest.raises(UserError, match="answers 503, asked 3 times; what was pulled is stored"):
        units(tmp_path / "broken", params(provider))
    assert not ready(params(provider), tmp_path / "broken")
    provider.asked.clear()
    assert units(tmp_path / "broken", params(provider)) == clean
    assert [search.get("page_offset") for search in provider.asked] == ["4", "8"]
    provider.asked.clear()
    assert ready(params(provider), tmp_path / "broken")
    assert units(tmp_path / "broken", params(provider)) == clean
    assert provider.asked == []
    assert units(tmp_path / "broken", params(provider, snapshot="2026-11")) == clean
    assert len(provider.asked) == 3


def test_a_provider_that_gives_less_than_it_says(tmp_path: Path, provider: Provider,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    provider.promised = 12
    assert len(units(tmp_path, params(provider))) == 10
    assert "speaks of 12 structures and gave 10" in capsys.readouterr().err


def test_a_damaged_page_is_pulled_again(tmp_path: Path, provider: Provider) -> None:
    clean = units(tmp_path, params(provider))
    (path,) = tmp_path.rglob("page-000002.parquet")
    path.write_bytes(path.read_bytes()[:50])
    assert units(tmp_path, params(provider)) == clean


def test_a_bad_entry_is_a_reject(tmp_path: Path, content: list[dict[str, Any]]) -> None:
    bad = {"type": "structures", "id": "a/b:c", "attributes": {"nsites": 3}}
    flat = json.loads(json.dumps(content[1]))
    flat["attributes"] |= {"dimension_types": [1, 1, 0], "nperiodic_dimensions": 2}
    with serving(Provider([content[0], bad, flat])) as provider:
        found = units(tmp_path, params(provider))
    assert found[content[0]["id"]]["error"] is None
    assert found["a_b_c"]["error"].startswith("unreadable: ")
    assert found[flat["id"]]["error"].startswith("not_periodic: ")


@pytest.mark.parametrize(("changes", "message"), [
    ({"base_url": None}, "ingest.optimade.base_url is not set"),
    ({"filter": "elements HAS"}, "is not in OPTIMADE's language"),
    ({"base_url": "http://127.0.0.1:9/", "timeout_s": 2.0}, "breaks off or cannot be reached"),
])
def test_mistakes_are_one_clear_line(tmp_path: Path, provider: Provider, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        units(tmp_path, params(provider, **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_the_provider_refuses_is_said_in_its_words(tmp_path: Path, provider: Provider) -> None:
    with pytest.raises(UserError, match=r"refuses the request \(404\): .*/db/elsewhere/v1/structures"):
        units(tmp_path, params(provider, base_url=f"{provider.address}elsewhere"))

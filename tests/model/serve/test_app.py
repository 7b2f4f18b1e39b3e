"""What the server answers about crystals."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from features.errors import RowError
from model.prediction import recipe, rows
from model.prediction.asked import Asked
from model.prediction.inputs import Given, read_crystals
from model.prediction.predictor import Predictor
from model.records import Predicted
from model.serve.app import Lane
from model.serve.desk import ROCK_SALT, Desk
from model.serve.limits import RefusedError
from tests.conftest import CRYSTALS
from tests.model.serve.conftest import JSON, RAW, client_of, desk_of
from tests.model.small import briefly, described, no_text

SILICON = CRYSTALS / "mp-149.cif"


def drop(client: TestClient, name: str, raw: bytes) -> Any:
    answer = client.post("/api/crystal", params={"name": name}, headers=RAW, content=raw)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(client: TestClient, what: str, content: Any, status: int = 200) -> Any:
    answer = client.post(f"/api/{what}", headers=JSON, content=json.dumps(content))
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def expected_of(predictor: Predictor, path: Path, **asked: Any) -> Predicted:
    """What `predict` says of a file."""
    ((name, text),) = read_crystals(path)
    made = recipe.make(predictor.recipe, Given(name, text, path.name))
    (answer,) = predictor.answers([made], Asked(**asked), quiet=True)
    return answer.predicted


@pytest.mark.parametrize(("name", "raw"), [("mp-149.cif", SILICON.read_bytes()), ("POSCAR", ROCK_SALT.encode()),
                                           ("mp-149.cif.gz", gzip.compress(SILICON.read_bytes()))])
def test_a_crystal_is_answered_as_predict_does(client: TestClient, predictor: Predictor, tmp_path: Path,
                                               name: str, raw: bytes) -> None:
    got = drop(client, name, raw)
    path = tmp_path / name
    path.write_bytes(raw)
    expected = expected_of(predictor, path)
    card = got["card"]
    assert card["predicted"] == json.loads(json.dumps(rows.asdict(replace(expected, name=name))))
    assert card["predicted"]["value"] > 0
    assert card["predicted"]["near_by_structure"]
    assert len(card["shape"]["elements"]) == 2
    assert card["effects"] == []
    answer = ask(client, "explanation", [{"name": name, "digest": got["digest"]}])
    explained = answer["card"]
    assert answer["shortened"] == ""
    assert explained["predicted"] == card["predicted"]
    shapley = [row for row in explained["effects"] if row["method"] == "shapley" and row["kind"] == "modality"]
    assert sum(row["effect"] for row in shapley) + shapley[0]["reference"] == pytest.approx(
        card["predicted"]["learned"]["value"], abs=1e-4)


def test_a_broken_file_is_a_sentence(client: TestClient, desk: Desk) -> None:
    assert drop(client, "../../etc/passwd", b"root:x:0:0")["error"].startswith("unknown_format: this is none of the")
    assert drop(client, "a.cif", b"")["error"] == "empty: there is no structure: the text is empty"
    assert drop(client, "a.cif", b"data_x\n_cell_length_a 3\n")["error"].count("\n") == 0
    assert "larger than 5 MB" in drop(client, "a.cif.gz", gzip.compress(bytes(6_000_000)))["error"]
    assert desk.workers.given[0].name == "../../etc/passwd"  # type: ignore[attr-defined]


def test_a_file_is_described_once(client: TestClient, desk: Desk) -> None:
    first, again = (drop(client, name, SILICON.read_bytes()) for name in ("one.cif", "other.cif"))
    assert first["digest"] == again["digest"]
    assert (first["card"]["predicted"]["name"], again["card"]["predicted"]["name"]) == ("one.cif", "other.cif")
    assert len(desk.workers.given) == 1  # type: ignore[attr-defined]


def test_bounds(predictor: Predictor) -> None:
    client = client_of(desk_of(predictor, file_bytes=1000, name_characters=10, text_characters=50, crystals=2))
    post = client.post("/api/crystal?name=a", headers=RAW, content=bytes(1001))
    assert post.status_code == 413
    assert post.json() == {"error": "larger than 0.001 MB: no crystal file that can be used is"}
    assert client.post("/api/crystal", headers=RAW, content=b"x").status_code == 422
    long = client.post("/api/crystal", params={"name": "a" * 11}, headers=RAW, content=b"x")
    assert long.json() == {"error": "the name of a file may have 10 characters"}
    long = ask(client, "edit", {"digest": "a", "rows": ["b" * 51]}, 422)
    assert long == {"error": "a description may have 50 characters"}
    three = [{"name": "a", "error": "x"}] * 3
    assert ask(client, "table.csv", three, 422)["error"] == "between 1 and 2 crystals may be asked for at once"
    assert "cannot be read" in ask(client, "table.csv", [{"name": "a", "path": "/etc"}], 422)["error"]
    assert "cannot be read" in ask(client, "edit", [], 422)["error"]


def test_an_edit_moves_the_prediction_sentence_by_sentence(client: TestClient, predictor: Predictor) -> None:
    got = drop(client, "mp-149.cif", SILICON.read_bytes())
    text, own = got["card"]["predicted"]["text"], got["card"]["predicted"]
    sentences = [text[start:end] for start, end, _ in got["card"]["sentences"]]
    assert len(sentences) == 3
    edited = ["Si crystallizes in the hexagonal P6_3/mmc space group.", sentences[1], " ", "All  bonds are long."]
    answer = ask(client, "edit", {"digest": got["digest"], "rows": edited})
    assert answer["text"] == f"{edited[0]} {edited[1]} All bonds are long."
    expected = expected_of(predictor, SILICON, text=answer["text"])
    now = answer["predicted"]
    assert now["value"] == pytest.approx(expected.value)
    assert now["what_if"]["value"] == pytest.approx(own["value"])
    difference = now["what_if"]["difference"]
    assert difference["learned"] == pytest.approx(now["learned"]["value"] - own["learned"]["value"])
    assert difference["learned"] != 0
    assert [row for row, _ in answer["steps"]] == [0, 2, 3]
    assert sum(step for _, step in answer["steps"]) == pytest.approx(difference["learned"], abs=1e-9)
    first = expected_of(predictor, SILICON, text=" ".join([edited[0], *sentences[1:]]))
    assert answer["steps"][0][1] == pytest.approx(first.learned["value"] - own["learned"]["value"], abs=1e-5)
    back = ask(client, "edit", {"digest": got["digest"], "rows": [f" {one}\n" for one in sentences]})
    assert (back["predicted"]["value"], back["steps"], back["text"]) == (own["value"], [], text)
    none = ask(client, "edit", {"digest": got["digest"], "rows": ["", "", ""]})
    without = expected_of(predictor, SILICON, without=("text",))
    assert none["predicted"]["value"] == pytest.approx(without.value)
    assert none["steps"][-1][0] == 2
    assert sum(step for _, step in none["steps"]) == pytest.approx(without.learned["value"] - own["learned"]["value"])
    few = ask(client, "edit", {"digest": got["digest"], "rows": ["a."]}, 422)
    assert few == {"error": "the description has 3 sentences: send as many, blank where one is left out"}


def test_tables_and_page_are_those_of_predict(client: TestClient, predictor: Predictor) -> None:
    got = drop(client, "a<b>.cif", SILICON.read_bytes())
    text = [got["card"]["predicted"]["text"][start:end] for start, end, _ in got["card"]["sentences"]]
    wanted = [{"name": "a<b>.cif", "digest": got["digest"]}, {"name": "=bad", "error": "empty: nothing is there"},
              {"name": "edited.cif", "digest": got["digest"], "rows": [*text, "It is blue."]}]
    table = list(csv.DictReader(io.StringIO(ask(client, "table.csv", wanted))))
    assert list(table[0]) == rows.SCHEMA.names
    assert [row["name"] for row in table] == ["a<b>.cif", "=bad", "edited.cif"]
    assert [row["error"] for row in table] == ["", "empty: nothing is there", ""]
    expected = expected_of(predictor, SILICON)
    assert float(table[0]["value"]) == pytest.approx(expected.value)
    assert float(table[2]["own_value"]) == pytest.approx(expected.value)
    assert table[2]["change"] == "with an edited description"
    objects = ask(client, "table.json", wanted)
    assert [one["name"] for one in objects] == [row["name"] for row in table]
    assert objects[0]["value"] == pytest.approx(expected.value)
    page = ask(client, "page.html", wanted)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [card["predicted"]["name"] for card in data["cards"]] == ["a<b>.cif", "edited.cif"]
    assert all(card["effects"] for card in data["cards"])
    assert data["cards"][1]["predicted"]["what_if"]["value"] == pytest.approx(expected.value)
    assert "connect-src" not in page.split('content="')[1].split('"')[0]


def test_a_crystal_that_is_not_kept_must_come_again(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    client = client_of(desk_of(predictor, crystals=1))
    gone = drop(client, "a.cif", SILICON.read_bytes())["digest"]
    drop(client, "POSCAR", ROCK_SALT.encode())
    for what, content in (("edit", {"digest": gone, "rows": []}), ("explanation", [{"name": "a", "digest": gone}]),
                          ("table.csv", [{"name": "a", "digest": gone}]), ("page.html", [{"name": "a"}])):
        assert ask(client, what, content, 404) == {
            "error": "the server does not keep this crystal any more: drop its file again"}


def test_without_a_description(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, no_text)
    client = client_of(desk_of(predictor))
    got = drop(client, "a.cif", SILICON.read_bytes())
    assert got["card"]["predicted"]["text"] is None
    assert "predicted from the structure alone" in str(got["card"]["predicted"]["warnings"])
    assert ask(client, "explanation", [{"name": "a", "digest": got["digest"]}])["card"]["effects"] == []
    refused = ask(client, "edit", {"digest": got["digest"], "rows": ["It is."]}, 422)
    assert refused == {"error": "this crystal has no description to edit"}


def test_a_model_without_text(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its crystals are never described, and have neither explanation nor editor."""
    described(monkeypatch, briefly)
    client = client_of(desk_of(replace(predictor, recipe=replace(predictor.recipe, text_stage=None))))
    assert client.get("/").status_code == 200
    got = drop(client, "a.cif", SILICON.read_bytes())
    expected = expected_of(predictor, SILICON, without=("text",))
    assert got["card"]["predicted"]["value"] == pytest.approx(expected.value)
    assert ask(client, "explanation", [{"name": "a", "digest": got["digest"]}])["card"]["effects"] == []
    assert '"methods":[]' in ask(client, "page.html", [{"name": "a", "digest": got["digest"]}])


def test_a_long_description_is_explained_in_short(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch, briefly)
    client = client_of(desk_of(predictor, explanation_work=0))
    got = drop(client, "a.cif", SILICON.read_bytes())
    answer = ask(client, "explanation", [{"name": "a", "digest": got["digest"]}])
    assert answer["shortened"] == ("The description is long, so to be quick replacement of facts is left out and "
                                   "replacement of sentences is left out and replacement of tokens is left out.")
    assert {row["method"] for row in answer["card"]["effects"]} == {"shapley", "gradients"}


def test_small_requests_do_not_wait_for_large_ones(client: TestClient, desk: Desk) -> None:
    got = drop(client, "a.cif", SILICON.read_bytes())
    line, done = [{"name": "a", "digest": got["digest"]}], threading.Event()

    def explain() -> None:
        ask(client, "explanation", line)
        done.set()

    with desk._explaining:
        waiting = threading.Thread(target=explain)
        waiting.start()
        rows = ["It is.", "", ""]
        assert ask(client, "edit", {"digest": got["digest"], "rows": rows})["steps"][0][0] == 0
        assert not done.is_set()
    waiting.join(60)
    assert done.is_set()


def test_who_comes_to_a_full_lane_is_told_to_come_again() -> None:
    go = threading.Event()

    async def crowd() -> list[Any]:
        lane = Lane(1, 2)
        first = [asyncio.create_task(lane.run(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="hands full") as refused:
            await lane.run(go.wait)
        go.set()
        return [refused.value.status, *await asyncio.gather(*first), await lane.run(go.is_set)]

    assert asyncio.run(crowd()) == [429, True, True, True]


def test_a_bug_shows_no_code(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Desk, "crystal", breaks)
    answer = client.post("/api/crystal?name=a", headers=RAW, content=b"x")
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed at this; where it was started it "
                                                                  "says why"})


def test_a_new_server_tries_itself_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crystal that comes meanwhile is described, and waits for the model."""
    go, order, one = threading.Event(), [], desk.workers.one

    def slowly(given: Given) -> recipe.Made:
        if given.text == ROCK_SALT:
            go.wait()
        order.append(given.name)
        return one(given)

    monkeypatch.setattr(desk.workers, "one", slowly)
    answered = threading.Event()
    desk.warm()
    waiting = threading.Thread(target=lambda: (desk.crystal("a.cif", SILICON.read_bytes()), answered.set()))
    waiting.start()
    while order != ["a.cif"]:
        assert waiting.is_alive()
    assert not answered.wait(0.1)
    go.set()
    assert answered.wait(60)
    assert order == ["a.cif", "POSCAR"]
    assert "explainer" in vars(desk)
    assert len(desk._kept) == 1


def test_a_model_that_cannot_try_itself_serves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(desk.workers, "one", lambda given: recipe.failed(given.name, RowError("no", "never")))
        desk.warm()
        assert desk._warm.wait(60)
    assert desk.crystal("a.cif", SILICON.read_bytes())[1].predicted.formula == "Si"

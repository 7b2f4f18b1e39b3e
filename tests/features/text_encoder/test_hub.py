"""A hub id is resolved to a commit once, at the beginning of a run, and by no plan, worker or query."""

import dataclasses
import pickle
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from features import catalog, sentences
from features.errors import UserError
from features.store import tables
from features.text_encoder import encoder, weights
from features.views import paraphrases, text_embeddings
from features.views.paraphrases import ParaphraseParams
from features.views.text_embeddings import EmbedParams
from pipelines.engine import stages
from pipelines.engine.materialize import materialize
from pipelines.engine.plan import plan, unseen
from pipelines.executors import Job, Serial
from tests.conftest import set_params
from tests.features.texts import BI2O3, CA5SB3, MOS2
from tests.model.small import small_project

NAME = "some/encoder"
FIRST, SECOND = "1" * 40, "2" * 40


class Hub:
    """In the hub client's place: repositories of one encoder, and a cache as the client keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head = FIRST
        self.here: dict[str, str] = {}
        """What each revision is in the cache."""
        self.asked: list[str | None] = []
        """Revisions that the hub was asked for."""

    def snapshot_download(self, name: str, revision: str | None = None, local_files_only: bool = False,
                          **_: Any) -> str:
        assert name == NAME
        if not local_files_only:
            self.asked.append(revision)
            commit = revision if revision in (FIRST, SECOND) else self.head
            self.here |= {commit: commit, revision or "main": commit}
            place = self.folder / commit
            if not place.exists():
                place.symlink_to(weights.locate("minilm"))
        if (revision or "main") not in self.here:
            raise LocalEntryNotFoundError("not in the cache")
        return str(self.folder / self.here[revision or "main"])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (tmp_path / "hub").mkdir()
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    encoder.load.cache_clear()
    yield made
    encoder.load.cache_clear()


def texts() -> pa.Table:
    rows = [{"material_id": f"m{k}", "variant": 0, "text": text, "sentences": sentences.to_rows(sentences.tag(text))}
            for k, text in enumerate([CA5SB3, BI2O3, MOS2, MOS2 + " Na(1) stays.", BI2O3 + " Na(1) stays."])]
    return pa.Table.from_pylist(rows)


class Meanwhile(Serial):
    """Between two batches another process fetches what is newer by then."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def map(self, job: Job, batches: Iterable[pa.Table]) -> Iterator[tuple[int, Any]]:
        for result in super().map(job, batches):
            self.hub.head = self.hub.here["main"] = SECOND  # whose files are not even there
            encoder.load.cache_clear()  # as a worker that begins now
            yield result


def test_a_run_asks_once_and_stays_with_its_commit(hub: Hub, tmp_path: Path) -> None:
    view = dataclasses.replace(text_embeddings.VIEW, batch_size=1)
    report = materialize(view, EmbedParams(encoder=NAME, device="cpu"), tmp_path, texts(), Meanwhile(hub))
    assert (report.computed, report.rejected) == (5, 0)
    assert hub.asked == [None]
    digests = set(tables.read(tmp_path, "text_embeddings")["weights_digest"].to_pylist())
    assert digests == {weights.weights_digest(weights.locate("minilm"))}
    # the commit stands in the footer, so that a query or a model finds these weights when the branch has moved on
    footers = [tables.footer(path) for path in tables.files(tmp_path, "text_embeddings")]
    assert {footer["commit"] for footer in footers} == {FIRST}
    assert EmbedParams.model_validate(footers[0]["params"]).at(FIRST).folder().name == FIRST
    assert EmbedParams.model_validate(footers[0]["params"]).folder().name == SECOND


def test_a_worker_that_lacks_the_files_fetches_those_of_the_run(hub: Hub) -> None:
    params = EmbedParams(encoder=NAME).resolved()
    assert params.deciding() == EmbedParams(encoder=NAME).deciding()
    hub.here, hub.head, hub.asked = {}, SECOND, []  # another machine, later
    there = pickle.loads(pickle.dumps(params))  # noqa: S301 (as the executors send it)
    assert there.folder().name == FIRST
    assert there.folder().name == FIRST
    assert hub.asked == [FIRST]


def test_a_commit_that_is_here_is_not_asked_for(hub: Hub) -> None:
    pinned = EmbedParams(encoder=NAME, revision=FIRST)
    pinned.resolved()
    assert hub.asked == [FIRST]
    pinned.resolved()
    assert hub.asked == [FIRST]


def test_the_model_that_paraphrases_goes_the_same_way(hub: Hub) -> None:
    view = paraphrases.VIEW
    params = ParaphraseParams.model_validate({"method": "seq2seq", "seq2seq": {"model": NAME, "device": "cpu"}})
    assert view.absent(params) == f"weights of {NAME}"
    assert hub.asked == []
    resolved = view.resolve(params)
    hub.here["main"] = SECOND
    assert view.digest(resolved).split()[0] == weights.weights_digest(weights.locate("minilm"))
    assert resolved.seq2seq.folder().name == FIRST
    assert hub.asked == [None]
    assert view.absent(ParaphraseParams()) == ""


def test_a_plan_and_a_query_ask_nobody(hub: Hub, tmp_path: Path) -> None:
    root = small_project(tmp_path / "project", only=["mp-30", "mp-149", "mp-22862"])
    set_params(root, embed={"encoder": NAME, "device": "cpu"})

    def step() -> Any:
        (embed,) = [step for step in plan(root) if step.stage == "embed"]
        return embed

    assert step().reasons == (f"after it has fetched weights of {NAME}",)
    assert (step().wanted, step().compute) == (None, None)
    assert hub.asked == []
    stages.run("embed", root, "serial")
    assert hub.asked == [None]
    for _ in range(2):
        assert (step().wanted, step().compute) == (9, 0)
        assert len(catalog.query(root, "from find('cubic', 2)")) == 2
    assert hub.asked == [None]
    assert unseen(root) == []  # a refresh sees what is newest
    assert hub.asked == [None, None]


def test_the_client_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, with a cache in which somebody has fetched a model, and no way to the hub."""
    place = tmp_path / "models--some--encoder"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(FIRST)
    shutil.copytree(weights.locate("minilm"), place / "snapshots" / FIRST, ignore=shutil.ignore_patterns("*.onnx"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    params = EmbedParams(encoder=NAME, device="cpu")
    assert params.absent() == ""
    assert params.resolved().folder() == params.folder() == place / "snapshots" / FIRST
    other = EmbedParams(encoder="some/other")
    assert other.absent() == "weights of some/other"
    with pytest.raises(UserError, match="weights of some/other are not on this machine and could not be fetched"):
        other.resolved()

"""Every row of an explanation again, by the whole network on a text that lacks the piece."""

import html
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from features.sentences import REGIONS, tag
from features.words.tokenizer import columns, tokenize
from model.checkpoint import Trained
from model.explanation import methods
from model.explanation.methods import explain
from model.explanation.variants import OfWords
from model.input.batch import StructureBatch
from model.input.words import collate_words
from model.nets.ensemble import Ensemble
from model.params import TrainParams
from model.records import Explanation
from model.report import pages
from tests.features.texts import SRTIO3
from tests.model.nets.batches import batch_of
from tests.model.nets.gates import opened

MEAN, STD = 1.5, 0.5
SMALL = {"text": "words", "words": {"dim": 16, "heads": 2, "across": 2},
         "crystalformer": {"dim": 16, "heads": 2, "layers": 1}}


def made(**params: Any) -> Trained:
    """A network as it begins, large enough in what it says to tell its inputs apart."""
    torch.manual_seed(0)
    net = Ensemble(TrainParams.model_validate({**SMALL, **params}), 1).eval()
    opened(net)
    config, nothing = cast(Any, SimpleNamespace(target_mean=MEAN, target_std=STD)), cast(Any, None)
    return Trained(net, config, TrainParams(), nothing, nothing, nothing, torch.device("cpu"), Path())


@pytest.fixture(scope="module")
def crystal(structures: dict[str, Any]) -> StructureBatch:
    return batch_of([structures["mp-5229"]], torch.float32, reach=30.0)


def said() -> OfWords:
    return OfWords.read(SRTIO3, tag(SRTIO3), "(Cubic) Perovskite")


def value(trained: Trained, crystal: StructureBatch, without: tuple[int, int] = (0, 0),
          hidden: list[bool] | None = None) -> float:
    """By the network itself, from the tokens outside a range of characters and the sentences that are not hidden."""
    tagged = tag(SRTIO3)
    tokens = [token for token in tokenize(SRTIO3, tagged, "(Cubic) Perovskite")
              if not without[0] <= token.start < without[1]]
    with torch.no_grad():
        words = trained.net.text_tokens(collate_words(columns(tokens, tagged)), hidden and torch.tensor([hidden]))
        fused = trained.net.fuse(trained.net.structure_tokens(crystal), words).fused
    return float(fused[0]) * STD + MEAN


@pytest.mark.parametrize("fusion", ["cross_attention", "gated", "text_only"])
def test_a_change_is_what_the_prediction_loses(fusion: str, crystal: StructureBatch) -> None:
    trained, tagged = made(fusion=fusion), tag(SRTIO3)
    result = explain(trained, "mp-5229", crystal, said(), 2.0, "nothing")
    with torch.no_grad():
        whole = trained.net(crystal, said().copies(1))
    full = result.predicted
    assert full == pytest.approx(float(whole.fused[0]) * STD + MEAN, abs=1e-6)
    large = set()
    for row in result.rows:
        index, kind = row["index"], row["kind"]
        without = {
            "sentence": lambda i=index: value(trained, crystal, hidden=[place == i for place in range(len(tagged))]),
            "region": lambda i=index: value(trained, crystal, hidden=[s.region == REGIONS[i] for s in tagged]),
            "token": lambda r=row: value(trained, crystal, (r["start"], r["end"])),
            "modality": lambda i=index: value(trained, crystal, hidden=[True] * len(tagged)) if i else None,
        }[kind]()
        if without is not None:
            assert row["change"] == pytest.approx(full - without, abs=2e-6), row
            large |= {kind} if abs(row["change"]) > 1e-4 else set()
    assert large == {"sentence", "region", "token", "modality"}
    assert [row["label"] for row in result.rows if row["kind"] == "modality"] == ["structure", "text"]
    if fusion == "text_only":
        assert result.rows[0]["change"] == pytest.approx(0.0, abs=1e-6)
    attention = [row["attention"] for row in result.rows if row["kind"] == "sentence"]
    if fusion == "cross_attention":
        assert sum(attention) == pytest.approx(1.0, abs=1e-5)
    assert (attention == [None] * len(tagged)) == (fusion != "cross_attention")
    assert all(row["attention"] is None for row in result.rows if row["kind"] != "sentence")


def test_a_sentence_that_is_left_out_is_heard_by_no_other(crystal: StructureBatch) -> None:
    """Masking its vector alone would leave in the others what they heard of it."""
    trained, tagged = made(fusion="gated"), tag(SRTIO3)
    branch, hidden = trained.net.networks()[0].text_branch, torch.zeros(1, len(tagged), dtype=torch.bool)
    hidden[0, 0] = True
    with torch.no_grad():
        before, after = branch(said().copies(1)), branch(said().copies(1), hidden)
        words = [type(before)(before.values, after.mask)]
        masked = trained.net.fuse(trained.net.structure_tokens(crystal), words).fused
    assert ((before.values[0, 1:] - after.values[0, 1:]).abs().amax(dim=1) > 1e-5).all()
    result = explain(trained, "mp-5229", crystal, said(), None, "")
    first = next(row for row in result.rows if row["kind"] == "sentence")
    assert abs(first["change"] - (result.predicted - float(masked[0]) * STD - MEAN)) > 1e-5


def test_how_many_come_at_once_changes_nothing(crystal: StructureBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = made()
    together = explain(trained, "mp-5229", crystal, said(), None, "")
    monkeypatch.setattr(methods, "WEIGHTS_AT_ONCE", 1)
    one_by_one = explain(trained, "mp-5229", crystal, said(), None, "")
    assert len(together.rows) == len(one_by_one.rows)
    for row, other in zip(together.rows, one_by_one.rows, strict=True):
        assert {**row, "change": 0} == {**other, "change": 0}
        assert row["change"] == pytest.approx(other["change"], abs=2e-6)


def test_what_cannot_be_predicted_is_left_out(crystal: StructureBatch, tmp_path: Path) -> None:
    """A network of which no branch has learned to predict without text, and a text of one sentence."""
    trained = made(masking={"drop_text": 0.0}, loss={"structure": 0.0})
    text = "SrTiO3 crystallizes in the cubic Pm-3m space group."
    result = explain(trained, "mp-5229", crystal, OfWords.read(text, tag(text), None), None, "")
    assert [(row["kind"], row["label"]) for row in result.rows] == [
        ("modality", "structure"), ("region", "semiglobal"), ("region", "local"),
        ("token", "SrTiO3"), ("token", "cubic"), ("token", "Pm-3m")]
    assert visible(page_of(result, tmp_path)) == text


def test_the_page_shades_each_mention_and_loses_no_character(crystal: StructureBatch, tmp_path: Path) -> None:
    result = explain(made(), "mp-5229", crystal, said(), None, "")
    page = page_of(result, tmp_path)
    assert visible(page) == SRTIO3
    shaded = [html.unescape(words) for words in re.findall('<span style="[^"]*" title="change.*?>(.*?)</span>', page)]
    assert shaded == [row["label"] for row in result.rows if row["kind"] == "token"]


@pytest.mark.parametrize(("params", "shown"), [
    ({"fusion": "cross_attention"}, True), ({"fusion": "gated"}, False),
    ({"fusion": "cross_attention", "members": {"fused": 0, "structure": 1, "text": 1}}, False),
], ids=["cross_attention", "gated", "no fused network"])
def test_the_page_shows_attention_where_there_is_any(params: dict[str, Any], shown: bool, crystal: StructureBatch,
                                                     tmp_path: Path) -> None:
    """And every row of the table of sentences has as many cells as its head."""
    result = explain(made(**params), "mp-5229", crystal, said(), None, "")
    page = page_of(result, tmp_path)
    assert ("<b>Attention</b>" in page) == shown
    (table,) = re.findall("<table>\n<tr><th>sentence</th>.*?</table>", page, re.DOTALL)
    head, *rows = [re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]
    sentences = [row for row in result.rows if row["kind"] == "sentence"]
    assert head == ["sentence", "region", "change", *(["attention"] if shown else [])]
    assert {len(row) for row in rows} == {len(head)}
    assert [row[3:] for row in rows] == [[f"{row['attention']:.3f}"] if shown else [] for row in sentences]


def page_of(result: Explanation, folder: Path) -> str:
    pages.write_explanations(folder / "page.html", "k_vrh", "GPa", [result])
    return (folder / "page.html").read_text()


def visible(page: str) -> str:
    """The description as the page shows it."""
    (text,) = re.findall('<p class="text">(.*?)</p>', page, re.DOTALL)
    return html.unescape(re.sub("<[^>]*>", "", text))

"""Faults of an earlier prototype of this model, each with the tests that fail if it comes back.

1. Texts went through a random projection that nothing learned, another one for each split.
   `tests/model/test_prototype_faults.py::test_the_projection_of_texts_is_learned_and_one_for_all_splits`
   `tests/model/test_stages.py::test_the_same_seed_gives_the_same_model`
2. Cross-attention had no residual from the atoms, and attended to padding.
   `tests/model/nets/test_fusion.py::test_atoms_pass_cross_attention_by_a_residual`
   `tests/model/nets/test_fusion.py::test_padding_and_neighbours_mean_nothing`
3. Masks were written into cached crystals: they stayed, added up, and reached validation and test.
   `tests/model/nets/test_network.py::test_masking_leaves_the_batch_as_it_was`
   `tests/model/test_prototype_faults.py::test_what_is_hidden_is_hidden_from_a_training_step_alone`
4. A target of zero, as the gap of every metal, was taken for a missing one, and another property for the target.
   `tests/model/test_stages.py::test_log_of_zero_is_refused_and_zero_is_a_value`
   `tests/model/test_prototype_faults.py::test_every_split_has_the_target_that_was_asked_for`
5. The training crystals had the formation energy as target, and so their mean and deviation, whatever was asked for.
   `tests/model/test_prototype_faults.py::test_every_split_has_the_target_that_was_asked_for`
   `tests/model/test_stages.py::test_statistics_come_from_the_training_split_alone`
6. The weight decay never reached the optimizer, the joint loss had weight for one branch alone, and the best weights
   could not be restored.
   `tests/model/test_prototype_faults.py::test_weight_decay_reaches_the_steps`
   `tests/model/test_prototype_faults.py::test_every_branch_with_a_weight_in_the_loss_learns`
   `tests/model/test_stages.py::test_the_best_checkpoint_is_restored`
7. Crystals without text were dropped without a word, files that were missing too, and exceptions swallowed.
   `tests/model/test_stages.py::test_a_crystal_without_text_is_kept`
   `tests/model/test_results.py::test_bad_files_do_not_stop_good_ones`
   `tests/pipelines/engine/test_materialize.py::test_rows_and_rejects_are_what_was_wanted`
   `tests/faults/test_errors_of_the_machine.py::test_it_stops_the_run_and_nothing_is_kept`
   `tests/faults/test_errors_of_the_machine.py::test_any_other_is_one_reject`
8. Caches did not say what they were made with: another encoder, or another mask, read the old files.
   `tests/features/test_view.py::test_what_a_fingerprint_depends_on`
   `tests/features/text_encoder/test_encoder.py::test_other_weights_are_another_fingerprint`
   `tests/pipelines/engine/test_materialize.py::test_another_version_of_the_view_computes_again`
   `tests/model/test_identity.py::test_what_a_user_does`
   `tests/model/training/test_train.py::test_another_run_does_not_take_the_state`
9. Paraphrases, exported attention and ablations stood in the README and nowhere else.
   `tests/features/views/test_paraphrases.py::test_rules_change_words_and_no_facts`
   `tests/model/test_results.py::test_an_effect_is_what_the_prediction_loses`
   `tests/model/experiments/test_matrix.py::test_the_projects_own_matrix`
   `tests/model/experiments/test_run.py::test_wrong_text_changes_what_reads_it`
   `tests/test_readme.py::test_every_command_is_there`
   `tests/test_readme.py::test_every_parameter_is_there`
"""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.forward import load_splits, predict
from model.input.batch import TextBatch
from model.input.loader import Dataset
from model.nets.network import MultimodalNet, draw_hidden
from model.params import Masking, TrainParams
from model.training.fit import Fitted, fit
from pipelines.engine import stages
from tests.model.small import SMALL

REPO = Path(__file__).parents[2]
CPU = torch.device("cpu")


def a_fit(root: Path, **changes: Any) -> tuple[MultimodalNet, Fitted, dict[str, Dataset]]:
    """One epoch: the network before it, the network after it, and the crystals."""
    params = TrainParams.model_validate({**SMALL, "epochs": 1, "learning_rate": 0.005, **changes})
    splits = load_splits(root, params)
    torch.manual_seed(params.seed)
    before = MultimodalNet(params, splits["train"].text_dim)
    return before, fit(params, splits, CPU, quiet=True), splits


def moved(before: torch.nn.Module, after: torch.nn.Module) -> dict[str, bool]:
    """Of each weight, whether it is another one than before."""
    old = dict(before.named_parameters())
    return {name: not torch.equal(weight, old[name]) for name, weight in after.named_parameters()}


def test_the_tests_named_above_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", __doc__ or "")
    assert len(named) == len(re.findall("(?m)^   `", __doc__ or "")) > 20
    assert [f"{path}::{test}" for path, test in named if f"\ndef {test}(" not in (REPO / path).read_text()] == []
    assert re.findall(r"(?m)^(\d)\. ", __doc__ or "") == list("123456789")


@pytest.mark.parametrize("text", ["sentences", "words"])
def test_the_projection_of_texts_is_learned_and_one_for_all_splits(project: Path, text: str) -> None:
    if text == "words":
        stages.run("tokenize", project, "serial")
    before, fitted, splits = a_fit(project, text=text, words={"dim": 16, "heads": 2})
    assert [name for name, learned in moved(before.text_branch, fitted.net.text_branch).items() if not learned] == []
    before_it = {name: place for place, split in splits.items() for name in split.ids}
    heard = []
    for place in splits:  # silicon is put in each of them in turn
        there = load_splits(project, TrainParams.model_validate({**SMALL, "text": text}),
                            {**before_it, "mp-149": place})[place]
        (batch,) = there.batches([np.array([there.ids.index("mp-149")])])
        heard.append(fitted.net.text_branch(batch.text).values)
    assert torch.equal(heard[0], heard[1])
    assert torch.equal(heard[0], heard[2])


def test_what_is_hidden_is_hidden_from_a_training_step_alone(project: Path) -> None:
    """Not from a later epoch, nor from the validation and the test, whatever the training hides."""
    masking = Masking(atoms=0.7, sentences=0.7, drop_structure=0.3, drop_text=0.3)
    _, fitted, splits = a_fit(project, masking=masking.model_dump())
    fresh = load_splits(project, TrainParams.model_validate(SMALL))
    for name, split in splits.items():
        for ours, theirs in zip(split.batches(split.plan(8)), fresh[name].batches(fresh[name].plan(8)), strict=True):
            assert torch.equal(ours.structure.numbers, theirs.structure.numbers)
            assert isinstance(ours.text, TextBatch)
            assert isinstance(theirs.text, TextBatch)
            assert torch.equal(ours.text.mask, theirs.text.mask)
            assert torch.equal(ours.text.vectors, theirs.text.vectors)
    for name in ("validation", "test"):
        shown, masked = np.zeros(len(fresh[name])), np.zeros(len(fresh[name]))
        with torch.no_grad():
            for batch in fresh[name].batches(fresh[name].plan(64)):
                hidden = draw_hidden(batch.structure, batch.text, batch.row, masking, (0, 0))
                shown[batch.row] = fitted.net(batch.structure, batch.text).fused
                masked[batch.row] = fitted.net(batch.structure, batch.text, hidden).fused
        assert predict(fitted.net, splits[name], CPU)["fused"] == pytest.approx(shown, abs=1e-6)
        assert np.abs(masked - shown).max() > 1e-2
        if name == "validation":
            error = np.abs(shown * fitted.std + fitted.mean - fresh[name].targets).mean()
            assert fitted.history[-1]["validation_mae_fused"] == pytest.approx(error, abs=1e-6)


@pytest.fixture(scope="module")
def with_gaps(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, float]]]:
    """A project with a formation energy for every crystal and a gap, often zero, for two in three; and all values."""
    root = Path(shutil.copytree(project, tmp_path_factory.mktemp("gaps") / "project"))
    path = root / "data/input/properties.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["formation_energy_per_atom"] = str(-1.0 - number)
        row["band_gap"] = ("0.0", f"{1 + number / 10}", "")[number % 3]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    stages.run("ingest", root, "serial")
    return root, {name: {row["material_id"]: float(row[name]) for row in rows if row[name]}
                  for name in ("formation_energy_per_atom", "band_gap", "k_vrh", "g_vrh")}


@pytest.mark.parametrize("target", ["band_gap", "formation_energy_per_atom", "g_vrh", "k_vrh"])
def test_every_split_has_the_target_that_was_asked_for(with_gaps: tuple[Path, dict[str, dict[str, float]]],
                                                       target: str) -> None:
    root, values = with_gaps
    _, fitted, splits = a_fit(root, target=target, transform="none")
    found = {name: value for split in splits.values() for name, value in zip(split.ids, split.targets, strict=True)}
    assert found == pytest.approx(values[target])
    assert all(len(split) for split in splits.values())
    if target == "band_gap":
        assert sum(value == 0 for value in found.values()) == 11
        assert any(value == 0 for value in splits["train"].targets)
    training = [values[target][name] for name in splits["train"].ids]
    assert (fitted.mean, fitted.std) == pytest.approx((np.mean(training), np.std(training)))


def test_weight_decay_reaches_the_steps(project: Path) -> None:
    """One step with and without: a matrix W that learns differs by rate · decay · W, as AdamW has it."""
    step = {"batch_size": 32, "warmup_steps": 0, "learning_rate": 0.01}
    before, plain, _ = a_fit(project, weight_decay=0.0, **step)
    _, decayed, _ = a_fit(project, weight_decay=0.3, **step)
    old, bare = dict(before.named_parameters()), dict(plain.net.named_parameters())
    learned = moved(before, plain.net)
    matrices = {name: weight for name, weight in decayed.net.named_parameters() if weight.dim() >= 2 and learned[name]}
    assert len(matrices) > 10
    for name, weight in matrices.items():
        torch.testing.assert_close(weight, bare[name] - 0.01 * 0.3 * old[name], atol=1e-6, rtol=1e-5, msg=name)


def test_every_branch_with_a_weight_in_the_loss_learns(project: Path) -> None:
    weights = TrainParams().loss
    assert min(weights.fused, weights.structure, weights.text) > 0
    heads = ("head_fused", "head_structure", "head_text")
    for loss, expected in (({}, heads), ({"structure": 0.0}, ("head_fused", "head_text")),
                           ({"text": 0.0}, ("head_fused", "head_structure")),
                           ({"structure": 0.0, "text": 0.0}, ("head_fused",))):
        before, fitted, _ = a_fit(project, loss=loss)
        changed = {head: moved(getattr(before, head), getattr(fitted.net, head)) for head in heads}
        for head in heads:
            assert set(changed[head].values()) == {head in expected}, (loss, head)

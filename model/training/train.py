"""Stage `train`: all members of the model, the weights of their kinds, and the file that holds it all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch

from features.code import code_digest
from features.errors import UserError
from features.params import load_section
from features.progress import conclude, say
from features.text_encoder.weights import pick_device
from model import background, blend, checkpoint, neighbours, training_rows
from model.checkpoint import Config
from model.coverage import Coverage
from model.curves import Curve, mean_curve
from model.forward import load_splits, predict
from model.identity import Identity
from model.input.loader import Dataset
from model.input.targets import unit_of
from model.nets.ensemble import Ensemble
from model.params import MEMBERS, TrainParams
from model.training.fit import Fitted, deterministic
from model.training.parallel import Team, team
from model.training.resume import Resume
from model.training.side_by_side import fit_all
from model.training.trees import Facts
from model.uncertainty import Calibration


def train(root: Path) -> None:
    """Train with the section `train` of `params.yaml`; writes `data/model/`."""
    params = load_section(root, "train", TrainParams)
    deterministic()
    with team(pick_device(params.device)) as (group, device):
        _train(root, params, group, torch.device(device))


def _train(root: Path, params: TrainParams, group: Team, device: torch.device) -> None:
    splits = load_splits(root, params)
    training = splits["train"]
    chosen = training_rows.of(root, params, splits) if group.leads else None
    if params.batch_size < group.processes:
        raise UserError(f"train.batch_size {params.batch_size} cannot be shared by {group.processes} processes")
    identity, coverage = Identity.of(root, params), Coverage.of(root, training.ids)
    model = Ensemble(params, training.text_dim)
    # a network that is finished leaves its last state until all are, so that a killed run goes on with the next
    resumes = [Resume(root, {"train": one.deciding(), "device": device.type, "processes": group.processes,
                             "identity": identity.to_dict(), "code": code_digest("features", "model")})
               for _, one in params.networks()]
    facts = Facts.of(splits) if params.members.trees else None  # before the networks: what is wrong is said at once
    fitted, trees = fit_all(root, params, splits, device, group, resumes, facts)
    for number, one in enumerate([*fitted, *trees]):
        model.nets[number] = one.net
    model.to(device)
    if chosen is None:
        return
    weigh(model, splits["validation"], fitted[0], device)
    curves = [[{name: value for name, value in epoch.items() if name != "seconds"} for epoch in one.history]
              for one in fitted]
    of = [kind for kind, _ in params.networks()]
    told = [one for one, texts in zip(training.ids, training.n_texts, strict=True) if texts]
    companions = {neighbours.NAME: neighbours.table(root, model, params, training, device)}
    if params.with_text:
        companions[background.NAME] = background.sample(root, params, told)
    calibration, errors = validated(model, splits["validation"], fitted[0], device)
    checkpoint.save(root, model, Config(
        format=checkpoint.FORMAT,
        train=params.model_dump(mode="json"),
        identity=identity.to_dict(),
        coverage=coverage.to_dict(),
        text_dim=training.text_dim,
        target_mean=fitted[0].mean,
        target_std=fitted[0].std,
        calibration=calibration.to_dict(),
        validation=errors,
        unit=unit_of(root, params.target),
        split_sizes={name: len(split) for name, split in splits.items()},
        parameters=sum(p.numel() for p in model.parameters()),
        history=curves,
    ), companions, {"learning_curve.csv": _as_csv(mean_curve(of, curves)), training_rows.NAME: chosen.text()})
    for resume in resumes:
        resume.clear()
    members = "a single member" if len(model.nets) == 1 else f"{len(model.nets)} members"
    conclude(f"train: {members}, trained on {len(training)} crystals; validation MAE {errors['mae']:.4f}, of the "
             f"mean predictor {errors['mean_mae']:.4f}")
    say(f"train: the training set is {chosen.name}")
    for finding in chosen.findings:
        if finding.leak:
            say(f"train: CAUTION. {finding.message}")


def weigh(model: Ensemble, validation: Dataset, fitted: Fitted, device: torch.device) -> None:
    """Learn how much each kind of network counts, on the crystals that stopped their training.

    Crystals without a text have no prediction by text alone and do not count.
    """
    kinds = [kind for kind in MEMBERS if kind in model.kinds]
    each = [predict(net, validation, device)["fused"] for net in model.networks()]
    by_kind = np.stack([np.mean([values for of, values in zip(model.kinds, each, strict=True) if of == kind], axis=0)
                        for kind in kinds])
    goal = (validation.targets - fitted.mean) / fitted.std
    known = np.isfinite(by_kind).all(axis=0)
    if len(kinds) == 1 or not known.any():
        return
    learned = dict(zip(kinds, blend.weights(by_kind, goal), strict=True))
    model.weights.copy_(torch.tensor([learned.get(kind, 0.0) for kind in MEMBERS]))


def validated(model: Ensemble, validation: Dataset, fitted: Fitted,
              device: torch.device) -> tuple[Calibration, dict[str, float]]:
    """How far predictions of the whole model are off on the validation crystals, beside what its networks differ by;
    and its mean error there with that of the training crystals' mean, as `Config.validation`."""
    made = predict(model, validation, device)
    known = np.isfinite(made["fused"])
    predicted, true = made["fused"][known] * fitted.std + fitted.mean, validation.targets[known]
    return Calibration.of(predicted, made["spread"][known] * fitted.std, true), {
        "mae": float(np.abs(predicted - true).mean()), "mean_mae": float(np.abs(fitted.mean - true).mean())}


def _as_csv(curve: Curve) -> str:
    """The learning curve for `dvc plots`; pages read the one in the model's file."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(curve[0]))
    writer.writeheader()
    writer.writerows(curve)
    return table.getvalue()

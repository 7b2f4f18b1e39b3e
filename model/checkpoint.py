"""A trained model on disk: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from features.errors import UserError
from features.params import parse_section
from features.paths import Paths
from features.registry import view_of
from features.store.files import write_text
from features.text_encoder.weights import pick_device
from model.nets.network import MultimodalNet
from model.params import TrainParams

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Config:
    """What a reader must know to use the weights."""

    format: int
    train: dict[str, Any]
    """Section `train` as it was."""
    features: dict[str, dict[str, Any]]
    """Per stage the version, parameters and weights digest of the features: what `predict` must repeat."""
    text_dim: int
    target_mean: float
    """Mean of the transformed target over the training split."""
    target_std: float
    unit: str
    """Unit of the untransformed target."""
    split_sizes: dict[str, int]
    split_digest: str
    """Which crystal was on which side (`data.split_digest`)."""
    parameters: int
    weights_sha256: str = ""
    """Of the weights that belong to this configuration; `save` fills it in."""


@dataclass(frozen=True)
class Trained:
    """A model ready to predict."""

    net: MultimodalNet
    config: Config
    params: TrainParams
    device: torch.device

    def natural(self, z: torch.Tensor) -> torch.Tensor:
        """From units of the standard deviation to the transformed target."""
        return z.double().cpu() * self.config.target_std + self.config.target_mean


def check_versions(trained: Trained) -> None:
    """Refuse a model that was trained on features of another meaning."""
    for stage, section in trained.config.features.items():
        version = view_of(stage).version
        if section["version"] != version:
            raise UserError(f"the model was trained on version {section['version']} of the features of '{stage}', "
                            f"this code makes version {version}; train again with `dvc repro`")


def save(root: Path, net: MultimodalNet, config: Config) -> None:
    """Write weights and configuration, each beside its place and renamed into it; the configuration last."""
    folder = Paths(root).model
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{WEIGHTS}.new"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}, draft)
    content = {**asdict(config), "weights_sha256": _sha256(draft)}
    draft.replace(folder / WEIGHTS)
    write_text(folder / CONFIG, json.dumps(content, indent=2, sort_keys=True) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def load(root: Path, device: str | None = None) -> Trained:
    """The trained model of a project. Raises `UserError` if there is none or it is of another version."""
    folder = Paths(root).model
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise UserError(f"{folder / CONFIG} has format {content.get('format')}, this version reads {FORMAT}; "
                            "train again with `dvc repro`")
        config = Config(**content)
        if _sha256(folder / WEIGHTS) != config.weights_sha256:
            raise UserError(f"{folder / WEIGHTS} and {CONFIG} do not belong together; train again with `dvc repro`")
        params = parse_section(config.train, "train", TrainParams)
        net = MultimodalNet(params, config.text_dim)
        net.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist: there is no trained model yet; run `dvc repro`") from None
    except (json.JSONDecodeError, SafetensorError, RuntimeError, TypeError) as error:
        raise UserError(f"the model in {folder} cannot be read ({error}); train again with `dvc repro`") from None
    where = torch.device(pick_device(device or params.device))
    return Trained(net.to(where).eval(), config, params, where)

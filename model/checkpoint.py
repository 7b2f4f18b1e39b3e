"""A trained model on disk: one safetensors file, whose header says everything that a reader must know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from features.errors import UserError
from features.params import parse_section
from features.paths import Paths
from features.store import sums, swap
from features.store.files import write_parquet
from features.text_encoder.weights import pick_device
from model.cautions import of_model
from model.coverage import Coverage
from model.header import CONFIG, MODEL, metadata
from model.identity import Identity
from model.nets.ensemble import Ensemble
from model.nets.network import Prediction
from model.params import TrainParams
from model.uncertainty import Calibration

FORMAT = 5
"""Raised when the file, or what the network makes of its weights, changes its meaning."""
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Config:
    """What a reader must know to use the weights."""

    format: int
    train: dict[str, Any]
    """Section `train` as it was."""
    identity: dict[str, Any]
    """What the model was made from (`model.identity`)."""
    coverage: dict[str, Any]
    """What the training crystals are (`model.coverage`)."""
    text_dim: int
    target_mean: float
    """Mean of the transformed target over the training split."""
    target_std: float
    unit: str
    """Unit of the untransformed target."""
    calibration: dict[str, Any]
    """What the validation crystals say about the errors (`model.uncertainty`), in the learned unit."""
    split_sizes: dict[str, int]
    validation: dict[str, float]
    """Errors on the validation crystals, which the members' weights are learned on, in the learned unit: `mae`, and
    `mean_mae` of the mean of the training crystals."""
    parameters: int
    history: list[list[dict[str, float]]]
    """Learning curve of each network: for each epoch `epoch`, `train_loss` and validation errors of the branches."""
    companions: dict[str, str] = field(default_factory=dict)
    """sha256 of each table beside the model, by its name; `save` fills it in."""
    weights_sha256: str = ""
    """Over names and bytes of the weights, which the format itself does not check; `save` fills it in, as the next."""
    config_sha256: str = ""
    """Over all other fields."""


@dataclass(frozen=True)
class Trained:
    """A model ready to predict."""

    net: Ensemble
    config: Config
    params: TrainParams
    identity: Identity
    coverage: Coverage
    calibration: Calibration
    device: torch.device
    folder: Path
    """Where the model's file and its companions lie."""

    def companion(self, name: str) -> pa.Table:
        """A table that was saved beside the model. Raises `UserError` if it is missing or not the one that was."""
        path = self.folder / f"{name}.parquet"
        try:
            content = sums.read(path)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: it belongs to the model; copy the folder as a whole, or train again "
                            "with `dvc repro`") from None
        if hashlib.sha256(content).hexdigest() != self.config.companions.get(name):
            raise UserError(f"{path} is damaged or of another model; train again with `dvc repro`")
        return pq.read_table(pa.BufferReader(content))

    @property
    def cautions(self) -> list[str]:
        """What must be said of the model beside every prediction (`model.cautions`)."""
        return of_model(self.config.split_sizes, self.config.validation)

    @property
    def learned_unit(self) -> str:
        """Unit of what the model learned: log10(GPa) where `train.transform` is log10."""
        return f"log10({self.config.unit or '1'})" if self.params.transform == "log10" else self.config.unit

    def natural(self, z: torch.Tensor) -> torch.Tensor:
        """From units of the standard deviation to the transformed target."""
        return z.double().cpu() * self.config.target_std + self.config.target_mean

    def spread(self, prediction: Prediction) -> NDArray[np.float64]:
        """`[crystals]`, standard deviation over the networks, in the learned unit; zeros for a single one."""
        values: NDArray[np.float64] = (torch.zeros_like(prediction.fused) if prediction.spread is None
                                       else prediction.spread).double().cpu().numpy()
        return values * self.config.target_std


def path_of(root: Path) -> Path:
    """The file of a project's model."""
    return Paths(root).model / MODEL


def save(root: Path, net: Ensemble, config: Config, companions: Mapping[str, pa.Table] | None = None,
         texts: Mapping[str, str] | None = None) -> None:
    """Write the folder of the model whole, and put it into its place: the model, the tables that belong to it, and
    further `texts` by the names of their files."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with swap.whole(Paths(root).model) as draft:
        digests = {}
        for name, table in (companions or {}).items():
            path = draft / f"{name}.parquet"
            write_parquet(table, path, sealed=True)
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for name, text in (texts or {}).items():
            (draft / name).write_text(text, encoding="utf-8", newline="")
        config = replace(config, companions=digests, weights_sha256=_digest(weights))
        content = asdict(replace(config, config_sha256=_config_digest(config)))
        header = {CONFIG: json.dumps(content, sort_keys=True, ensure_ascii=False)}
        (draft / MODEL).write_bytes(to_bytes(weights, header))


def load(root: Path, device: str | None = None) -> Trained:
    """The trained model of a project. Raises `UserError` if there is none, or if it is damaged or of another format."""
    return load_file(path_of(root), device)


def load_file(path: Path, device: str | None = None) -> Trained:
    """The same of a model's file, wherever it lies."""
    try:
        raw = sums.read(path)  # once: what was checked is what is loaded
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: there is no trained model yet; run `dvc repro`") from None
    try:
        weights = from_bytes(raw)
        content = json.loads(metadata(raw).get(CONFIG, "{}"))
        if content.get("format") != FORMAT:
            raise UserError(f"{path} has format {content.get('format', 1)}, this version reads {FORMAT}; train "
                            "again with `dvc repro`")
        config = Config(**content)
        if (_digest(weights), _config_digest(config)) != (config.weights_sha256, config.config_sha256):
            raise UserError(f"{path} is damaged: it does not hold what was saved; train again with `dvc repro`")
        params = parse_section(config.train, "train", TrainParams)
        net = Ensemble(params, config.text_dim)
        net.load_state_dict(weights)
        identity, coverage = Identity.from_dict(config.identity), Coverage.from_dict(config.coverage)
        calibration = Calibration.from_dict(config.calibration)
    except (ValueError, SafetensorError, RuntimeError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{path} is damaged and cannot be read ({error}); train again with `dvc repro`") from None
    where = torch.device(pick_device(device or params.device))
    return Trained(net.to(where).eval(), config, params, identity, coverage, calibration, where, path.parent)


def _config_digest(config: Config) -> str:
    content = json.dumps(asdict(replace(config, config_sha256="")), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _digest(weights: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

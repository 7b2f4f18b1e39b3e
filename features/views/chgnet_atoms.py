"""Feature view `chgnet_atoms`: a vector for each atom from the frozen, pretrained network CHGNet.

CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023) learned energies, forces, stresses and magnetic moments
of 1.5 million structures of the Materials Project. **A model on these vectors has seen energies of many of the crystals
it is tested on**: every table that reports it says so (`pretrained_on`). The weights are inside the package `chgnet`
(extra `chgnet`); nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from features import crystal
from features.errors import RowError, UserError
from features.params import LONGEST_S, RUNTIME, Section
from features.rules import arrays, finite, lengths, no_gaps, not_blank, present
from features.text_encoder.weights import errors_of_torch
from features.view import FeatureView, column, rowwise

DIM = 64
WEIGHTS = {
    "0.3.0": "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "r2scan": "pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
PRETRAINED_ON = "energies, forces, stresses and magnetic moments of the Materials Project"

SCHEMA = pa.schema([
    column("material_id", pa.string(), "identifier"),
    column("atom_vectors", pa.list_(pa.float16()), f"features of each atom, [nsites × {DIM}] flattened"),
    column("pretrained_on", pa.string(), "what the network had learned from"),
])


class ChgnetParams(Section):
    """Section `chgnet`."""

    model: Literal["none", "0.3.0", "r2scan"] = "none"
    """Pretrained weights; none makes an empty table. r2scan was refined on r²SCAN energies."""
    timeout_s: float = Field(default=120.0, gt=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Longest time for one crystal."""


@rowwise(SCHEMA)
def compute(unit: dict[str, Any], params: ChgnetParams) -> dict[str, Any]:
    """Vectors of the atoms of one canonical crystal, in its order."""
    vectors = atom_vectors(crystal.from_cif(unit["cif"]), params.model)
    return {"material_id": unit["material_id"], "atom_vectors": vectors.ravel().astype(np.float16),
            "pretrained_on": f"CHGNet {params.model}: {PRETRAINED_ON}"}


def atom_vectors(structure: Any, model: str) -> NDArray[np.float32]:
    """`[atoms, 64]` of a pymatgen `Structure`. Raises `RowError` for a crystal with an atom that has no neighbour."""
    network = _network(model)
    try:
        with warnings.catch_warnings(), errors_of_torch():
            warnings.simplefilter("ignore")
            prediction = network.predict_structure(structure, task="e", return_atom_feas=True)
    except ValueError as error:  # within 6 Å
        if "isolated" in str(error):
            raise RowError("isolated_atom", str(error)) from None
        raise
    result: NDArray[np.float32] = np.asarray(prediction["atom_fea"], np.float32)
    return result


@functools.cache
def _network(model: str) -> Any:
    import torch
    from chgnet.model.model import CHGNet

    content = torch.load(_weights(model), map_location="cpu", weights_only=True)["model"]
    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself
        return CHGNet.from_dict(content, mlp_out_bias=False, version=model).eval()


def _weights(model: str) -> Path:
    from importlib.util import find_spec

    package = find_spec("chgnet")
    if package is None or package.origin is None:
        raise UserError("chgnet.model needs the package chgnet: pip install 'multimodal-cpf[chgnet]'")
    return Path(package.origin).parent / WEIGHTS[model]


def digest(params: ChgnetParams) -> str:
    """sha256 of the weights, with the versions of the libraries that run them; empty if nothing is asked for.

    No device is in it: the network stays on the CPU, where it was loaded.
    """
    if params.model == "none":
        return ""
    weights = hashlib.sha256(_weights(params.model).read_bytes()).hexdigest()
    return " ".join([weights, *(f"{name}=={version(name)}" for name in ("chgnet", "torch", "pymatgen-core"))])


VIEW = FeatureView(
    name="chgnet_atoms",
    stage="chgnet",
    key=("material_id",),
    inputs={"materials": ("material_id", "cif")},
    schema=SCHEMA,
    version=1,
    contract=(
        *present("material_id", "atom_vectors", "pretrained_on"),
        *no_gaps("atom_vectors"),
        *finite("atom_vectors"),
        arrays(f"atom_vectors hold {DIM} numbers an atom", ("atom_vectors",), lambda rows: (
            (lengths(rows["atom_vectors"]) % DIM != 0) | (lengths(rows["atom_vectors"]) == 0))),
        not_blank("pretrained_on"),
    ),
    params=ChgnetParams,
    compute=compute,
    wanted=lambda params: params.model != "none",
    baselined=("numpy",),
    digest=digest,
    batch_size=16,
    timeout_s=lambda params: params.timeout_s,
)

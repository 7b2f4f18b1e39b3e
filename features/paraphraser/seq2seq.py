"""Paraphrases from any text-to-text model of Hugging Face, by hub id or folder, sentence by sentence."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import Field

from features.errors import UserError
from features.paraphraser.rules import Part
from features.text_encoder.weights import Hosted, errors_of_torch, one_thread, pick_device, weights_digest


class Seq2SeqParams(Hosted):
    """Section `paraphrase.seq2seq`."""

    model: str = ""
    """A hub id, or a folder with a text-to-text model and its tokenizer."""
    revision: str | None = None
    """Revision of a hub id."""
    prefix: str = "paraphrase: "
    """What the model was trained to find in front of a sentence."""
    temperature: float = Field(default=1.0, gt=0, le=100)
    """Higher is bolder."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Words are drawn from the most likely ones that together have this probability."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"runtime": True})
    """Where the model runs: auto, cpu or cuda. A GPU draws other words than a CPU, so `identity` tells them apart."""

    def hosted(self) -> tuple[str, str | None, str]:
        return self.model, self.revision, "paraphrase.seq2seq.model"


def identity(params: Seq2SeqParams) -> str:
    """What decides the words besides the parameters: weights, kind of device, libraries."""
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers")]
    return " ".join([weights_digest(params.folder()), pick_device(params.device).split(":")[0], *versions])


def paraphrase(original: Sequence[Part], salt: str, params: Seq2SeqParams, same: Callable[[str, str], bool],
               attempts: int) -> list[Part]:
    """Each sentence in the model's words; in its own, if after `attempts` no wording states the same.

    One sentence a pass, drawn with a seed from `salt`: nothing depends on what else is worded.
    """
    model = _load(params)
    result: list[Part] = []
    for index, (words, region) in enumerate(original):
        accepted = words
        for attempt in range(attempts):
            candidate = model.say(words, f"{salt}:{index}:{attempt}")
            if candidate and candidate != words and same(words, candidate):
                accepted = candidate
                break
        result.append((accepted, region))
    return result


class _Model:
    def __init__(self, params: Seq2SeqParams) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.torch, self.params = torch, params
        self.device = torch.device(pick_device(params.device))
        place = params.folder()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            self.model = AutoModelForSeq2SeqLM.from_pretrained(place, local_files_only=True, trust_remote_code=False,
                                                               weights_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{place} does not hold a text-to-text model that transformers can load: {error}") from None
        self.model.eval().requires_grad_(False).to(self.device)

    def say(self, words: str, salt: str) -> str:
        """One drawn rewording."""
        torch = self.torch
        inputs = self.tokenizer(self.params.prefix + words, return_tensors="pt").to(self.device)
        devices = [self.device] if self.device.type == "cuda" else []
        with errors_of_torch(), one_thread(), torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(int.from_bytes(hashlib.sha256(salt.encode()).digest()[:7], "big"))
            output = self.model.generate(**inputs, do_sample=True, temperature=self.params.temperature,
                                         top_p=self.params.top_p, max_new_tokens=2 * inputs["input_ids"].shape[1] + 16)
        text: str = self.tokenizer.decode(output[0], skip_special_tokens=True)
        return " ".join(text.split())


@functools.lru_cache(maxsize=1)
def _load(params: Seq2SeqParams) -> Any:
    return _Model(params)

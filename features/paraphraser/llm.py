"""Paraphrases from a language model behind an OpenAI-compatible endpoint. The prompt is `prompt.txt` beside this file.

The answers are not kept apart: a row of `paraphrases` is found in the row store by its fingerprint, which covers the
prompt, the model and the text, so a text that has its row is not asked for again; other `variants`, `attempts` or
`temperature` are another row. The key is read from the environment and never written down.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from features.errors import UserError
from features.params import LONGEST_S, Section
from features.paraphraser.rules import Part
from features.redaction import keep_secret


class LlmParams(Section):
    """Section `paraphrase.llm`."""

    url: str = Field(default="http://localhost:8000/v1", json_schema_extra={"runtime": True})
    """Base address of the endpoint; any server that speaks OpenAI's chat protocol."""
    model: str = ""
    """Name of the model at that endpoint."""
    temperature: float = Field(default=0.8, ge=0, le=2)
    api_key_env: str = Field(default="OPENAI_API_KEY", json_schema_extra={"runtime": True})
    """Environment variable that holds the key."""
    timeout_s: float = Field(default=120.0, gt=0, le=LONGEST_S, json_schema_extra={"runtime": True})
    """Longest time for one answer."""
    retries: int = Field(default=6, ge=0, le=100, json_schema_extra={"runtime": True})
    """How often a busy or failing server is asked again, with growing pauses."""

    @model_validator(mode="after")
    def _address_without_secrets(self) -> LlmParams:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("url must be an http(s) address without user, password or query; a key belongs into the "
                             "environment variable that api_key_env names")
        keep_secret(self.api_key_env)
        return self


def prompt() -> str:
    """Instructions for the model."""
    return resources.files(__package__).joinpath("prompt.txt").read_text(encoding="utf-8")


def prompt_digest() -> str:
    """sha256 of the instructions, part of the fingerprint."""
    return hashlib.sha256(prompt().encode()).hexdigest()


def paraphrase(original: Sequence[Part], salt: str, params: LlmParams,
               same: Callable[[str, str], bool]) -> list[Part] | None:
    """One rewording of all sentences; None if the answer does not have a faithful line for each.

    Line by line, so that every sentence keeps its region.

    Raises `UserError` if the endpoint cannot be asked: that belongs to the set-up, not to the text.
    """
    asked = "\n".join(f"{number}. {words}" for number, (words, _) in enumerate(original, start=1))
    seed = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:4], "big") // 2
    answer = _ask(params, asked, seed)
    lines = dict(re.findall(r"^\s*(\d+)[.):]\s+(\S.*?)\s*$", answer, flags=re.MULTILINE))
    if set(lines) != {str(number) for number in range(1, len(original) + 1)}:
        return None
    result = [(lines[str(number)], region) for number, (_, region) in enumerate(original, start=1)]
    return result if all(same(words, said) for (words, _), (said, _) in zip(original, result, strict=True)) else None


def _ask(params: LlmParams, asked: str, seed: int) -> str:
    import openai

    try:
        answer = _client(params).chat.completions.create(
            model=params.model, temperature=params.temperature, seed=seed,
            messages=[{"role": "system", "content": prompt()}, {"role": "user", "content": asked}])
    except openai.AuthenticationError:
        raise UserError(f"paraphrase.llm: {params.url} refuses the key in {params.api_key_env}") from None
    except (openai.APIError, ValueError) as error:  # a ValueError is an answer that is no JSON
        raise UserError(f"paraphrase.llm: {params.url} cannot be asked ({type(error).__name__}); finished rows "
                        "are stored, run again later") from None
    if not getattr(answer, "choices", None):
        raise UserError(f"paraphrase.llm: {params.url} does not answer as OpenAI's chat protocol has it")
    return answer.choices[0].message.content or ""


@functools.lru_cache(maxsize=1)
def _client(params: LlmParams) -> Any:
    try:
        import openai
    except ImportError:
        raise UserError("paraphrase.method: llm needs the package openai: pip install 'multimodal-cpf[llm]'") from None
    keep_secret(params.api_key_env)  # in a worker too, which did not read the parameters itself
    key = os.environ.get(params.api_key_env)
    if not key:
        raise UserError(f"paraphrase.llm: set the environment variable {params.api_key_env} to the key of {params.url}")
    return openai.OpenAI(base_url=params.url, api_key=key, timeout=params.timeout_s, max_retries=params.retries)

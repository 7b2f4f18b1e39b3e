"""The text encoder: the device's vectors beside the CPU's, and texts a second."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.embed import cosine_distance
from benchmarks.gpu.report import Report
from benchmarks.gpu.timing import seconds
from benchmarks.paraphrase import read
from features import sentences
from features.params import load_section
from features.text_encoder.encoder import TextEncoder
from features.views.text_embeddings import EmbedParams

COMPARED = 16
"""Texts that the CPU encodes, too."""
MOST = {"float32": 1e-5, "bfloat16": 1e-3}
"""Largest cosine distance of a pooled vector from the CPU's in float32."""


def measure(report: Report, root: Path, device: str, count: int) -> None:
    """With the encoder of the project's section `embed`, on its descriptions, each a text of its own."""
    params = load_section(root, "embed", EmbedParams)
    texts = list(dict.fromkeys(text for _, text in read(root, None, 10**9)))
    texts = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:count]]
    tagged = [sentences.tag(text) for text in texts]
    few = min(COMPARED, len(texts))
    expected = encoder(params, "cpu", "float32").encode(texts[:few], tagged[:few])
    for precision, most in MOST.items():
        one = encoder(params, device, precision)
        measured = one.encode(texts[:few], tagged[:few])
        far = max(cosine_distance(a.pooled(), b.pooled()) for a, b in zip(measured, expected, strict=True))
        report.add("text encoder", f"{precision} vectors, cosine distance from the CPU", far, most=most)
        taken = seconds(torch.device(device), [partial(one.encode, texts, tagged)], 1)
        report.add("text encoder", f"{precision}, {len(texts)} texts", len(texts) / taken, "texts/s")


def encoder(params: EmbedParams, device: str, precision: str) -> TextEncoder:
    """The project's, somewhere else."""
    return TextEncoder(params.folder(), params.model_copy(update={"device": device, "precision": precision}))

"""A tiny matrix on the small project."""

from __future__ import annotations

from typing import Any

from model.experiments.matrix import Matrix

CONTENT: dict[str, Any] = {
    "folds": 5, "seeds": 2, "validation": 0.3, "bootstrap": 200, "confidence": 0.95,
    "reference": "dedicated", "headline": "dedicated",
    "train": {"crystalformer": {"dim": 16, "heads": 2, "layers": 1}, "epochs": 1, "batch_size": 8, "warmup_steps": 2},
    "datasets": {"tiny": {"targets": ["k_vrh"]}},
    "targets": {"k_vrh": {"transform": "log10"}},
    "arms": {
        "dedicated": {"kind": "network",
                      "train": {"fusion": "structure_only", "loss": {"structure": 0.0, "text": 0.0}}},
        "fused": {"kind": "network", "train": {"fusion": "gated"}, "controls": ["shuffled_text"]},
        "ridge_words": {"kind": "ridge_words", "seeds": 1, "controls": ["shuffled_text", "formula"]},
    },
    "controls": {"shuffled_text": {"texts": "anothers"}, "formula": {"texts": "formula_and_space_group"}},
    "mixtures": {"mixed": {"parts": {"dedicated": 1, "fused": 1}}},
}


def matrix(**changes: Any) -> Matrix:
    """The matrix, with some of its sections in other words."""
    return Matrix.model_validate({**CONTENT, **changes})

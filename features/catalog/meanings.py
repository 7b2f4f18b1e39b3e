"""What each table and each function of SQL means, in a sentence, for catalogs, pages and `describe`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from features.catalog import virtual
from features.registry import MODULES

OTHERS: Mapping[str, str] = {
    "rejects": "every row that could not be computed, with the reason",
    "predictions": "what the model says of each crystal beside the value that is known, with an interval",
    "attributions": "an effect of one modality, region, sentence, fact, mention or atom on one prediction, by one "
                    "method",
    "attention": "what the cross-attention of fused networks looks at; empty for a model without them",
    "faithfulness": "outcome of one test of one method of explanation for this model",
    "fact_effects": "mean effect of what facts state over the test crystals, with its interval",
    "experiments": "out-of-fold errors with and without the text, for each data set, target and control",
    "profiles": "statistics of each column of each table",
    "lineage": "where each row comes from: source, stage, parameters, libraries, time; and why others are not",
}
"""Of tables that are no feature views."""
FUNCTIONS: Mapping[str, str] = {
    "similar": "similar(id, n := 10): crystals whose descriptions are most like that of a crystal, by the cosine of "
               "their vectors in text_embeddings",
    "find": "find(query, n := 10): crystals whose descriptions are most like a text, with the sentence that is most "
            "like it, by the cosine of their vectors in text_embeddings",
    "near": "near(id, n := 10): crystals whose structures are most like that of a crystal, whatever their elements and "
            "size: 1 / (1 + distance) of the vectors that features/vectors.py explains",
}
LEXICAL_FIND = ("find(query, n := 10): descriptions that hold most of the words of a text, rare words counting more, "
                "with the sentence that holds most of them; `python -m features sql` has a find that compares meanings")
"""Of `find` in `data/catalog.duckdb`, which other clients open: they have no text encoder."""
_FIRST_LINE = re.compile(r'"""Feature view `\w+`: (.*?)\.?(?:"""|$)')


def meaning(table: str) -> str:
    """A sentence on a table, without a full stop; empty for one that nobody knows."""
    module = next((module for module in MODULES.values() if module.rpartition(".")[2] == table), None)
    if module is None:
        return OTHERS.get(table, _virtual(table))
    spec = importlib.util.find_spec(module)  # read and not imported: an encoder behind a view takes seconds
    if spec is None or spec.origin is None:
        return ""
    with Path(spec.origin).open(encoding="utf-8") as source:
        found = _FIRST_LINE.match(source.readline().rstrip("\n"))
    return found[1] if found else ""


def _virtual(table: str) -> str:
    if table not in virtual.MODULES:
        return ""
    return (virtual.description(table).splitlines() or [""])[0].rstrip(".")

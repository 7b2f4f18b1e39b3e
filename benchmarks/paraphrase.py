"""`python -m benchmarks.paraphrase`: are paraphrases faithful, and are they paraphrases?

Rewords descriptions by rules, in this process, and reads facts and lexical distance of every variant. That the check
sees what it must is measured on the same texts: each is spoilt in a dozen ways, and every spoilt text has to fail.
`--texts` takes so many descriptions of the project's table, `--table FILE` those of another Parquet file (columns
material_id, text).
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.figures import Figure, show
from features import sentences
from features.errors import RowError
from features.paraphraser.fact_parser import facts, prototype_names
from features.store import tables
from features.views.paraphrases import ParaphraseParams, compute, lexical_distance


def main() -> None:
    """Print accepted and dropped variants, facts, distances, and texts a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    params = ParaphraseParams(variants=arguments.variants)
    texts = read(arguments.root, arguments.table, arguments.texts)
    accepted = faithful = short = 0
    attempts: Counter[int] = Counter()
    distances: list[float] = []
    different = True
    begin = time.perf_counter()
    made = []
    for material_id, text in texts:
        unit = {"material_id": material_id, "text": text, "sentences": sentences.to_rows(sentences.tag(text))}
        try:
            made.append((text, compute.function(unit, params)))
        except RowError:
            made.append((text, []))
    seconds = time.perf_counter() - begin
    seen, missed = check(texts)
    for text, rows in made:
        stated = facts(text, prototype_names(text))
        words = [text, *(str(row["text"]) for row in rows)]
        different &= len(set(words)) == len(words)
        short += params.variants - len(rows)
        for row in rows:
            accepted += 1
            attempts[row["attempts"]] += 1
            faithful += facts(row["text"], prototype_names(text)) == stated
            distances.append(lexical_distance(text, row["text"]))
    regenerated = sum((count - 1) * times for count, times in attempts.items())
    mean, least = float(np.mean(distances)), min(distances)
    code = show(f"paraphrases by rules of {len(texts):,} descriptions", [
        Figure("paraphrases that hold all facts", faithful / accepted, "", least=1, key="paraphrase.faithful",
               note=f"{faithful:,} of {accepted:,}, all different: {different}; {short} dropped, "
                    f"{regenerated} worded again"),
        Figure("spoilt texts that the check of facts sees", seen / (seen + len(missed)), "", least=1,
               key="paraphrase.seen", note=f"{seen:,} of {seen + len(missed):,}"),
        Figure("mean lexical distance (1 - BLEU-4) of paraphrases", mean, "", least=0.35, key="paraphrase.distance",
               note=f"5 % are below {np.quantile(distances, 0.05):.2f}, the least {least:.2f}"),
        Figure("paraphrases by rules a second, one core", accepted / seconds, "", key="paraphrase.rate")])
    for way, text in missed[:5]:
        print(f"  missed, {way}: {text[:200]}")
    sys.exit(int(code or not different))


def check(texts: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]]]:
    """How many spoilt texts do not state the facts of their original, and which ones do."""
    seen = 0
    missed = []
    for number, (_, text) in enumerate(texts):
        names = prototype_names(text)
        stated = facts(text, names)
        for way, spoilt in spoil(text, np.random.default_rng(number)):
            if facts(spoilt, names) != stated:
                seen += 1
            else:
                missed.append((way, spoilt))
    return seen, missed


WORDS = (("bonded", "hardly bonded"), ("All ", "Some "), ("equivalent", "similar"), ("equivalent ", ""),
         (" and ", " or "), ("distorted ", ""), ("shorter", "longer"), ("corner", "edge"), ("not tilted", "tilted"),
         ("lengths", "gaps"), (" Å", " nm"), ("crystallizes", "no longer crystallizes"), ("geometry", "like geometry"))
CLAIMS = (" It is a metal.", " The layers are weakly held.", " Vacancies occur.",
          " All O(9)-O(9) bond lengths are 1.00 Å.")


def spoil(text: str, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Texts that differ from `text` in one statement, each with what was done."""
    numbers = list(re.finditer(r"\d+\.\d+|\b(?:two|three|four|five|six|eight|nine|ten|twelve)\b", text))
    for match in (numbers[i] for i in rng.permutation(len(numbers))[:4]):
        other = f"{float(match[0]) + 0.01:.2f}" if "." in match[0] else "seven"
        yield "another number", text[:match.start()] + other + text[match.end():]
    labels = list(re.finditer(r"\b[A-Z][a-z]?\(\d+\)", text))
    for match in (labels[i] for i in rng.permutation(len(labels))[:3]):
        yield "another label", f"{text[:match.start()]}Xe(9){text[match.end():]}"
    lengths = [m for m in numbers if "." in m[0]]
    for a, b in itertools.pairwise(lengths):
        if a[0] != b[0]:
            yield "two lengths swapped", (text[:a.start()] + b[0] + text[a.end():b.start()] + a[0] + text[b.end():])
            break
    for old, new in WORDS:
        if old in text:
            yield f"'{old}' -> '{new}'", text.replace(old, new, 1)
    for claim in CLAIMS:
        yield "a claim more", text + claim
    _, *rest = re.split(r"(?<=\.) ", text)
    if rest:
        yield "the first sentence dropped", " ".join(rest)


def read(root: Path, table: Path | None, count: int) -> list[tuple[str, str]]:
    """The first descriptions by id, from a table of the project or a file."""
    if table is None:
        texts = pl.DataFrame(tables.read(root, "descriptions", ["material_id", "text"]))
    else:
        texts = pl.read_parquet(table, columns=["material_id", "text"])
    return list(texts.sort("material_id").head(count).iter_rows())


if __name__ == "__main__":
    main()

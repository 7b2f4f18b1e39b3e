"""`python -m benchmarks.paraphrase`: are paraphrases faithful, and are they paraphrases?

Rewords descriptions by rules, in this process, and reads facts and lexical distance of every variant. `--texts` takes
so many descriptions of the project's table, `--table FILE` those of another Parquet file (columns material_id, text).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from features import sentences, tables
from features.errors import RowError
from features.paraphrase.facts import facts, prototype_names
from features.paraphrases import ParaphraseParams, compute, lexical_distance


def main() -> None:
    """Print kept and dropped variants, facts, distances, and texts a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    params = ParaphraseParams(variants=arguments.variants)
    texts = read(arguments.root, arguments.table, arguments.texts)
    kept = faithful = short = 0
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
    for text, rows in made:
        stated = facts(text, prototype_names(text))
        words = [text, *(str(row["text"]) for row in rows)]
        different &= len(set(words)) == len(words)
        short += params.variants - len(rows)
        for row in rows:
            kept += 1
            attempts[row["attempts"]] += 1
            faithful += facts(row["text"], prototype_names(text)) == stated
            distances.append(lexical_distance(text, row["text"]))
    regenerated = sum((count - 1) * times for count, times in attempts.items())
    print(f"{len(texts)} descriptions, {kept} paraphrases kept, {short} dropped, {regenerated} worded again; "
          f"{kept / seconds:.0f} a second")
    print(f"all facts held by {faithful}/{kept}; all variants different: {different}")
    print(f"lexical distance (1 - BLEU-4): mean {np.mean(distances):.3f}, "
          f"5 % below {np.quantile(distances, 0.05):.3f}, least {min(distances):.3f}")
    sys.exit(int(faithful != kept or not different or float(np.mean(distances)) < 0.35))


def read(root: Path, table: Path | None, count: int) -> list[tuple[str, str]]:
    """The first descriptions by id, from a table of the project or a file."""
    if table is None:
        found = pl.DataFrame(tables.read(root, "descriptions", ["material_id", "text"]))
    else:
        found = pl.read_parquet(table, columns=["material_id", "text"])
    return list(found.sort("material_id").head(count).iter_rows())


if __name__ == "__main__":
    main()

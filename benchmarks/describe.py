"""`python -m benchmarks.describe --crystals 60`: our describer against stock Robocrystallographer.

Both describe the same canonical crystals, in turn, in one process and one thread; texts are compared letter by letter
after the agreed repairs. Times are those of the processor. The sample is spread over five ranges of cell size, and
their crystals come in turn. `--table FILE` takes crystals from a Parquet file with the columns `material_id` and `cif`
instead of the embedded sets. `--stock FILE` keeps what stock says and its seconds in a Parquet file: stock takes ten
seconds a crystal, and what the file has of it, with the same versions of the libraries, is not asked again. The exit
code is 1 if a text differs or the ratio is below `--least`.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.figures import Figure, show
from features import crystal, formats
from features.describer.neighbours import structure_key
from features.errors import RowError
from features.views import descriptions
from features.views.descriptions import DescribeParams
from pipelines.params import IngestParams
from pipelines.sources import matminer_archive

BINS = ((1, 4), (5, 8), (9, 16), (17, 40), (41, 150))
"""Atoms in the primitive cell."""


def main() -> None:
    """Print equal, different and failed texts and the speed ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--oxidation-states", choices=["none", "guess"], default="none")
    parser.add_argument("--least", type=float, default=50, help="ratio of the times that is asked for")
    parser.add_argument("--stock", type=Path, help="Parquet file that keeps what stock says")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    params = DescribeParams(oxidation_states=arguments.oxidation_states)
    sample = pick(arguments.table, arguments.crystals, arguments.seed)
    started = time.perf_counter()
    stock_said = StockTexts(arguments.stock, params)
    stock_said.of(sample[0][1])
    describe(sample[0][1], params, stock=False)  # imports and compilation are not what is compared
    print(f"ready after {time.perf_counter() - started:.1f} s (imports, compilation)", flush=True)
    times: list[tuple[float, float]] = []
    equal = different = failed = alone = 0
    for material_id, structure in sample:
        expected, stock_s = stock_said.of(structure)
        begin = time.process_time()
        text = describe(structure, params, stock=False)
        ours_s = time.process_time() - begin
        if expected.startswith("!") and not text.startswith("!"):
            alone += 1  # flagged `stock_fails`
            continue
        if expected != text:
            different += 1
            print(f"different: {material_id}\n  stock: {expected}\n  ours:  {text}", flush=True)
        elif expected.startswith("!"):
            failed += 1
            continue
        else:
            equal += 1
        times.append((stock_s, ours_s))
    stock, ours = np.array(times).T
    sizes = [len(structure) for _, structure in sample]
    ratio = stock.sum() / ours.sum()
    name = f"describe.{arguments.table.stem if arguments.table else 'embedded'}.{len(sample)}"
    of = f"{len(sample)} crystals of {arguments.table.stem if arguments.table else 'the embedded sets'}"
    sys.exit(show(f"{of}, {min(sizes)} to {max(sizes)} atoms, {np.median(sizes):g} in the median", [
        Figure(f"texts that are not stock's, {of}", different, "", most=0, key=f"{name}.different",
               note=f"equal {equal}/{len(sample)}, rejected by both {failed}, by stock alone {alone}"),
        Figure(f"ratio: describing to stock, {of}", ratio, "times", least=arguments.least, key=f"{name}.ratio",
               note=f"{np.median(stock / ours):.1f} in the median, {(stock / ours).min():.1f} at the least"),
        Figure(f"core-seconds of a description, {of}", ours.mean(), "s", key=f"{name}.seconds",
               note=f"{np.median(ours):.3f} in the median, {ours.max():.2f} at the most; stock {stock.mean():.2f}")]))


def pick(table: Path | None, count: int, seed: int) -> list[tuple[str, Any]]:
    """Canonical crystals, as many as possible from each range of size."""
    with tempfile.TemporaryDirectory() as folder:
        if table is None:
            entries = [(e.material_id, e.structure, e.format)
                       for e in matminer_archive.read(IngestParams(dataset="union"), Path(folder))]
        else:
            rows = pl.read_parquet(table, columns=["material_id", "cif"])
            entries = [(i, cif, "cif") for i, cif in rows.iter_rows()]
    entries.sort(key=lambda entry: hashlib.sha256(f"{seed}:{entry[0]}".encode()).hexdigest())
    share = -(-count // len(BINS))
    chosen: dict[tuple[int, int], list[tuple[str, Any]]] = {bounds: [] for bounds in BINS}
    spare: list[tuple[str, Any]] = []  # where a range has too few, others fill the sample
    for material_id, text, form in entries:
        if all(len(of_size) >= share for of_size in chosen.values()):
            break
        try:
            structure = crystal.canonical_structure(formats.parse(text, form).structure)
        except RowError:
            continue
        for (low, high), of_size in chosen.items():
            if low <= len(structure) <= high:
                (of_size if len(of_size) < share else spare).append((material_id, structure))
    in_turn = itertools.zip_longest(*chosen.values())  # so that the first of them are of all sizes, too
    sample = [pair for pairs in in_turn for pair in pairs if pair is not None]
    return (sample + spare)[:count]


class StockTexts:
    """What stock says of a crystal, and how many seconds it takes; kept in `file`, if there is one."""

    def __init__(self, file: Path | None, params: DescribeParams) -> None:
        self._file, self._params = file, params
        self._libraries = " ".join(f"{name} {version(name)}" for name in (*descriptions.VIEW.libraries, "numpy",
                                                                          "spglib"))
        self._warm = False
        self._rows: list[dict[str, Any]] = [] if file is None or not file.exists() else pl.read_parquet(file).to_dicts()

    def of(self, structure: Any) -> tuple[str, float]:
        """Text, or the reason for having none, and seconds of the processor."""
        key = {"crystal": hashlib.sha256(structure_key(structure)).hexdigest(),
               "settings": self._params.model_dump_json(exclude={"source", "timeout_s"}), "libraries": self._libraries}
        for row in self._rows:
            if key.items() <= row.items():
                return row["text"], row["seconds"]
        if not self._warm:  # stock imports and reads when it is first called
            self._warm = True
            describe(structure, self._params, stock=True)
        begin = time.process_time()
        text = describe(structure, self._params, stock=True)
        self._rows.append({**key, "text": text, "seconds": time.process_time() - begin})
        if self._file is not None:
            whole = self._file.with_suffix(".part")
            pl.DataFrame(self._rows).write_parquet(whole)
            os.replace(whole, self._file)
        return text, float(self._rows[-1]["seconds"])


def describe(structure: Any, params: DescribeParams, stock: bool) -> str:
    """The text, or the reason for having none."""
    try:
        return stock_text(structure, params) if stock else descriptions.describe(structure, params).text
    except RowError as error:
        return f"! {error.kind}: {error}"


def stock_text(structure: Any, params: DescribeParams) -> str:
    """Text of stock Robocrystallographer, with nothing shared between crystals, after our repairs."""
    from robocrys import StructureCondenser, StructureDescriber

    if params.oxidation_states == "guess":
        structure = descriptions.with_guessed_ions(structure)
    describer = StructureDescriber(describe_oxidation_states=params.oxidation_states == "guess",
                                   describe_symmetry_labels=params.symmetry_labels,
                                   bond_length_decimal_places=params.decimals)
    try:
        return descriptions.repair(describer.describe(StructureCondenser().condense_structure(structure)))
    except Exception as error:  # compared as a result like any other
        raise RowError(type(error).__name__, f"robocrys: {error}") from error


if __name__ == "__main__":
    main()

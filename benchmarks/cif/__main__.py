"""`python -m benchmarks.cif`: whether the crystal that is read is the one that the file means.

Three parts, each counting what is right, what is wrong without a word, and what is rejected although it is clear:

* cases: the files of a folder (`--cases FOLDER`; those of the tests) and what its `expected.csv` says of each,
* sweep: all settings of the space-group tables by every way of giving them (`--every N`: each Nth only),
* fuzz: mutated real CIFs (`--fuzz N` of them, 0 for none, by `--seed`; `--files FOLDER` adds originals, `--keep FOLDER`
  takes the files that are not right), each confirmed by an independent computation, or rejected.

`--speed N` reads N CIFs and compares with pymatgen's parser. The exit code is 1 if anything is not right.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cif import fuzz, sweep
from benchmarks.cif.reading import Outcome, read_all
from benchmarks.figures import Figure, show

TESTS = Path(__file__).parents[2] / "tests"
CRYSTALS, CASES = TESTS / "crystals", TESTS / "features" / "cif" / "cases"


def main() -> None:
    """Print the counts of all parts, and each answer that is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--files", type=Path, action="append", default=[])
    parser.add_argument("--every", type=int, default=1, help="0 for no sweep")
    parser.add_argument("--fuzz", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--speed", type=int, default=0)
    arguments = parser.parse_args()
    figures = []
    counts, lines, trusted = cases(arguments.cases)
    report("cases", {"files": counts}, ("right", "wrong", "undeserved"), lines)
    figures.append(_figure("cases", "files that are easily misread, not read as they should be", {"": counts}, lines))
    if arguments.every:
        by_way, lines = sweep.sweep(arguments.every)
        report("sweep", by_way, ("right", "rejected", "undeserved", "wrong"), lines)
        figures.append(_figure("sweep", "settings of space groups, given in every way, read wrongly", by_way, lines))
    if arguments.fuzz:
        texts = trusted | fuzz.crystals(CRYSTALS) | {
            path.name: path.read_bytes() for folder in arguments.files for path in sorted(folder.rglob("*.cif"))}
        originals, lines = fuzz.load_originals(texts, trusted)
        print(f"fuzz: {len(originals)} originals, {len(lines)} not used")
        print(*(f"  {line[:300]}" for line in lines), sep="\n", end="\n" if lines else "")
        kinds, lines = fuzz.fuzz(originals, arguments.fuzz, arguments.seed, keep=arguments.keep)
        report("fuzz", kinds, fuzz.ENDS, lines)
        figures.append(_figure("fuzz", "mutated CIFs, read wrongly, hanging or crashing", kinds, lines))
    if arguments.speed:
        figures.append(speed(arguments.speed))
    sys.exit(show("reading CIFs", figures))


def _figure(key: str, what: str, counts: Mapping[str, Counter[str]], lines: Sequence[str]) -> Figure:
    whole: Counter[str] = sum(counts.values(), Counter())
    note = ", ".join(f"{count:,} {end}" for end, count in whole.items() if count)
    return Figure(what, len(lines), "", most=0, note=f"of {sum(whole.values()):,}: {note}", key=f"cif.{key}")


def report(part: str, counts: Mapping[str, Counter[str]], ends: Sequence[str], lines: Sequence[str]) -> None:
    """Print a table and what is not right."""
    print(f"{part:42s} {' '.join(f'{end:>10s}' for end in ends)}")
    for kind, found in sorted(counts.items()):
        print(f"  {kind:40s} {' '.join(f'{found[end]:10d}' for end in ends)}")
    whole: Counter[str] = sum(counts.values(), Counter())
    print(f"  {'all':40s} {' '.join(f'{whole[end]:10d}' for end in ends)}")
    for line in lines:
        print(f"  {line[:400]}")
    print(flush=True)


def cases(folder: Path) -> tuple[Counter[str], list[str], dict[str, bytes]]:
    """Counts, a line for each file that is not right, and the files that are rows, and right."""
    with (folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    texts = [(folder / case["file"]).read_bytes() for case in expected]
    counts: Counter[str] = Counter()
    lines, rows = [], {}
    for case, text, outcome in zip(expected, texts, read_all(texts), strict=True):
        verdict, why = judge(case, outcome)
        counts[verdict] += 1
        if verdict != "right":
            lines.append(f"{verdict}: {case['file']}: {why}; expected: {case['expect']} ({case['why']})")
        elif case["expect"] == "row":
            rows[case["file"]] = text
    return counts, lines, rows


def judge(case: Mapping[str, str], outcome: Outcome) -> tuple[str, str]:
    """Right, wrong or undeserved (a reject of what is clear), and why."""
    from pymatgen.core import Composition

    if outcome.end == "reject":
        return ("undeserved" if case["expect"] == "row" else "right"), outcome.message
    if outcome.crystal is None:
        return "wrong", f"{outcome.end}: {outcome.message}"
    row, reasons = outcome.row, []
    if case["expect"] == "reject":
        reasons.append(f"a row of {row['formula']}")
    if case["formula"] and Composition(case["formula"]).reduced_formula != row["reduced_formula"]:
        reasons.append(f"formula {row['formula']} instead of {case['formula']}")
    reasons += [f"{column} {row[column]} instead of {case[column]}" for column in ("nsites", "space_group_number")
                if case[column] and int(case[column]) != row[column]]
    if case["density"]:
        digits = len(case["density"].partition(".")[2])
        if abs(row["density"] - float(case["density"])) > 0.5 * 10.0**-digits * 1.001:
            reasons.append(f"density {row['density']} instead of {case['density']}")
    return ("wrong", ", ".join(reasons)) if reasons else ("right", "")


def speed(count: int) -> Figure:
    """Reading the tests' crystals with their symmetry, and pymatgen's parser, in turn."""
    from pymatgen.io.cif import CifParser

    from features.cif.read import read_cif

    plain = [path.read_bytes() for path in sorted(CRYSTALS.rglob("*.cif"))]
    texts = [fuzz.with_symmetry(text) for text in plain]
    ours, theirs = [], []
    for text in itertools.islice(itertools.cycle([texts[0], *texts]), count + 1):
        begin = time.perf_counter()
        read_cif(text)
        middle = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CifParser.from_str(text.decode()).parse_structures(primitive=False)
        end = time.perf_counter()
        ours.append(middle - begin)
        theirs.append(end - middle)
    ours, theirs = ours[1:], theirs[1:]  # the first pays for imports
    return Figure("reading CIFs, to pymatgen's parser", sum(theirs) / sum(ours), "times", key="cif.speed",
                  note=f"{count} files, {1000 * statistics.mean(ours):.1f} ms each")


if __name__ == "__main__":
    main()

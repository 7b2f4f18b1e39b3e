"""A second opinion on a CIF, by other code than `features.cif`: which crystals the file may honestly mean.

A plain computation from the raw values that gemmi's parser gives: listed operations as exact fractions, or those of
the Hall symbol, the name or the number; atoms expanded and merged within 0.1 Å. A crystal counts only if the file's
own formula, formula units, volume and density fit it, as far as it gives them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np

from benchmarks.cif.operations import IDENTITY, MeaninglessError, Operation, arrays, is_group, parse_operation
from benchmarks.cif.reading import Crystal, Floats, Outcome, difference, distances, lattice_of, metric_of
from benchmarks.cif.sweep import Setting, settings, spellings

MERGE = 0.1  # Å, as the reader's
MIN_DISTANCE = 0.5  # Å
SAME = 0.06  # Å: of images within `MERGE` either or their mean may be taken
VOLUME_OFF, DENSITY_OFF = 0.021, 0.051
"""Relative deviations of `_cell_volume` and of a density that still fit, a little wider than the reader's."""
METRIC_OFF = 0.03
"""Of a metric tensor under the operations, relative to its largest number."""
DALTON = 1.66053907
"""g/cm³ of one dalton in one Å³."""
NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d+\))?", re.ASCII)
ABSENT = ("", ".", "?")
DISPUTED = ("listed, other order", "as it stands")
"""Symmetry against what else the file says of it: only formula and Z can confirm all atoms of the cell."""
CHECKS = ("formula", "formula units", "volume", "density")


@dataclass(frozen=True)
class Site:
    """One line of the atoms."""

    element: str
    place: tuple[float, float, float]
    occupancy: float


@dataclass(frozen=True)
class File:
    """What a file says."""

    metric: Floats
    sites: tuple[Site, ...]
    operations: tuple[Operation, ...] | None
    """None if it lists none."""
    hall: str
    name: str
    number: str
    formula: Counter[str] | None
    units: float | None
    volume: float | None
    density: float | None


def confirm(text: bytes, outcome: Outcome, ignore: Collection[str] = ()) -> str:
    """Why a row is not what its file means; empty if it is.

    Args:
        text: the file.
        outcome: what the reader made of it, a row.
        ignore: of `CHECKS`, those that the unspoilt file fails, too.
    """
    assert outcome.crystal is not None
    try:
        file = parse(text)
        reasons = []
        for source, crystal in candidates(file):
            off = misfits(file, crystal, ignore)
            apart = difference(outcome.crystal, crystal, SAME)
            if not apart and (not off or outcome.flags) and source not in DISPUTED:
                return row_off(outcome)
            if not apart and not off and (source != "as it stands" or outcome.flags):
                if file.formula is not None and file.units is not None:
                    return row_off(outcome)
                off = "the operations are not those of the name or number, and no Z decides"
            reasons.append(f"{source}: {apart or off}")
    except (MeaninglessError, np.linalg.LinAlgError) as error:
        return f"the file means no crystal: {error}"
    return "; ".join(reasons[:3]) or "no symmetry that is known"


def row_off(outcome: Outcome) -> str:
    """How the row's formula, sites and density differ from the crystal that was read; empty if they agree."""
    crystal, row = outcome.crystal, outcome.row
    assert crystal is not None
    if gemmi_formula(Counter(crystal.elements)) != gemmi_formula(parse_formula(row["formula"]) or Counter()):
        return f"the row's formula is {row['formula']}"
    if abs(row["nsites"] / row["volume"] * crystal.volume / len(crystal.elements) - 1) > 1e-2:
        return f"the row has {row['nsites']} sites in {row['volume']:.2f} Å³"
    if abs(row["density"] / density(crystal) - 1) > 1e-2:
        return f"the row's density is {row['density']:.3f}, {density(crystal):.3f} is right"
    return ""


def parse(text: bytes) -> File:
    """What stands in the one block with atoms. Raises `MeaninglessError`."""
    plain = text.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    plain = re.sub(r"[^\x00-\x7f]", "~", plain)  # no name, number or symbol has such a sign, and gemmi minds it
    try:
        document = gemmi.cif.read_string(plain)
    except (ValueError, RuntimeError) as error:
        raise MeaninglessError(str(error)) from None
    blocks = [block for block in document if list(block.find_values("_atom_site_fract_x"))]
    if len(blocks) != 1:
        raise MeaninglessError(f"{len(blocks)} blocks with atoms")
    block = blocks[0]

    def value(*tags: str) -> str:
        return next((found for tag in tags if (found := _plain(block.find_value(tag) or "")) not in ABSENT), "")

    lengths = [_number(value(f"_cell_length_{axis}"), "cell length") for axis in "abc"]
    angles = [_number(value(f"_cell_angle_{angle}") or "90", "cell angle") for angle in ("alpha", "beta", "gamma")]
    if not all(0.5 < length < 1e4 for length in lengths) or not all(10 < angle < 170 for angle in angles):
        raise MeaninglessError("a cell that cannot be")
    units, volume, weight = (value(tag) for tag in (
        "_cell_formula_units_Z", "_cell_volume", "_exptl_crystal_density_diffrn"))
    formula = parse_formula(value("_chemical_formula_sum"))
    return File(
        metric_of(lengths, angles), tuple(_sites(block, formula)), _operations(block),
        value("_symmetry_space_group_name_Hall", "_space_group_name_Hall"),
        value("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt", "_space_group_name_H-M_full"),
        value("_symmetry_Int_Tables_number", "_space_group_IT_number"),
        formula, *(_fact(text) for text in (units, volume, weight)))


def _plain(raw: str) -> str:
    return str(gemmi.cif.as_string(raw)).strip()


def _number(text: str, what: str) -> float:
    match = NUMBER.fullmatch(text)
    if not match or not np.isfinite(float(match[1])):
        raise MeaninglessError(f"'{text}' is no {what}")
    return float(match[1])


def _coordinate(text: str) -> float:
    thirds = re.fullmatch(r"([+-]?\d{1,3})/([1-9]\d?)", text, re.ASCII)  # against the grammar, and clear
    return int(thirds[1]) / int(thirds[2]) if thirds else _number(text, "coordinate")


def _fact(text: str) -> float | None:
    """A positive number; None for what is none, which says nothing."""
    match = NUMBER.fullmatch(text)
    return float(match[1]) if match and 0 < float(match[1]) < np.inf else None


def _sites(block: gemmi.cif.Block, formula: Counter[str] | None) -> Iterator[Site]:
    names = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "calc_flag")
    columns = {name: [_plain(raw) for raw in block.find_values(f"_atom_site_{name}")] for name in names}
    count = len(columns["fract_x"])
    given = {name: column if len(column) == count else [""] * count for name, column in columns.items()}
    for label, symbol, x, y, z, occupancy, flag in zip(*(given[name] for name in names), strict=True):
        if flag.lower() == "dum" or re.fullmatch(r"(?i)va\w*", symbol if symbol not in ABSENT else label):
            continue
        place = tuple(_coordinate(part) for part in (x, y, z))
        if max(abs(part) for part in place) > 1000:
            raise MeaninglessError(f"a coordinate of {place}")
        share = 1.0 if occupancy in ABSENT else _number(occupancy, "occupancy")
        if share != 0:  # an atom that is not there
            yield Site(_element(symbol, label, formula), place, share)  # type: ignore[arg-type]


def _element(symbol: str, label: str, formula: Counter[str] | None) -> str:
    typed = re.fullmatch(r"([A-Za-z]{1,2})(\d*[+-]?|[+-]\d*)", symbol, re.ASCII)
    if typed and typed[1].capitalize() in _weights():
        possible = [typed[1].capitalize()]
    elif symbol in ABSENT or formula is not None:  # what is no symbol says nothing if label and formula agree
        text = re.sub(r"[^A-Za-z].*", "", label, flags=re.DOTALL)
        possible = [name for length in (2, 1) if len(text) >= length
                    and (name := text[:length].capitalize()) in _weights()]
        possible = [name for name in possible if symbol in ABSENT or name in (formula or ())]
    else:
        possible = []
    chosen = [name for name in possible if formula is None or name in formula] or possible
    if not chosen:
        raise MeaninglessError(f"'{symbol if symbol not in ABSENT else label}' is no element")
    return "H" if chosen[0] in ("D", "T") else chosen[0]


@cache
def _weights() -> dict[str, float]:
    """Daltons, by symbol."""
    elements = [gemmi.Element(number) for number in range(1, 104)]
    return {element.name: element.weight for element in elements} | {"D": 1.008, "T": 1.008}


def parse_formula(text: str) -> Counter[str] | None:
    """Atoms of a formula without brackets; None if there is none that can be read."""
    terms = re.findall(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+|)", text)
    if not terms or "".join(name + count for name, count in terms) != re.sub(r"\s", "", text):
        return None
    total: Counter[str] = Counter()
    for name, count in terms:
        total["H" if name in ("D", "T") else name] += float(count or 1)  # type: ignore[assignment]
    return +total if +total and all(name in _weights() for name in total) else None  # without zeros


def gemmi_formula(atoms: Counter[str]) -> dict[str, float]:
    """Shares of the elements, rounded."""
    whole = sum(atoms.values())
    return {name: round(count / whole, 3) for name, count in sorted(atoms.items())}


def _operations(block: gemmi.cif.Block) -> tuple[Operation, ...] | None:
    for tag in ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz"):
        found = [_plain(raw) for raw in block.find_values(tag)]
        if found and found not in (["?"], ["."]):
            try:
                listed = tuple(parse_operation(text) for text in found)
            except MeaninglessError:
                return ()  # no group; another source may have the symmetry
            return listed if IDENTITY in listed else (IDENTITY, *listed)
    return None


def candidates(file: File) -> Iterator[tuple[str, Crystal]]:
    """Crystals by each source of symmetry, in the order of its right to be believed, whose operations fit the cell."""
    named, numbered = by_name(file.name), by_number(file.number, file.metric)
    if file.operations and is_group(file.operations):
        rotations, shifts = arrays(file.operations)
        usual = all(len(rotations) in {len(one.triplets) for one in known} for known in (named, numbered) if known)
        yield from (("listed" if usual else "listed, other order", crystal)
                    for crystal in expand(file, rotations, shifts))
    if file.hall:
        try:
            group = list(gemmi.symops_from_hall(file.hall))
        except (ValueError, RuntimeError):
            group = []
        if group:
            yield from (("Hall symbol", crystal) for crystal in expand(
                file, np.array([one.rot for one in group]) / gemmi.Op.DEN,
                np.array([one.tran for one in group]) / gemmi.Op.DEN))
    for source, group_settings in (("name", named), ("number", numbered if not file.name or named else [])):
        for setting in group_settings:
            yield from ((f"{source} {setting.name}", crystal)
                        for crystal in expand(file, setting.rotations, setting.translations))
    silent = file.operations is None and not (file.hall or file.name or file.number)
    yield from (("no symmetry" if silent else "as it stands", crystal)
                for crystal in expand(file, np.eye(3)[None], np.zeros((1, 3))))


def by_number(number: str, metric: Floats) -> list[Setting]:
    """Settings that a number may mean: the conventional one with all its origins and axes, or others if the cell
    fits none of them."""
    found = [one for one in settings() if str(one.number) == number]
    usual = {one.hm for one in found if one.reference}
    return [one for one in found if one.hm in usual and fits(one.rotations, metric)] or found


def by_name(name: str) -> list[Setting]:
    """Settings that a Hermann-Mauguin name may mean."""
    wanted = re.sub(r"[\s_]", "", name).lower()
    return [one for one in settings() if wanted and wanted in _names()[one.name]]


@cache
def _names() -> dict[str, set[str]]:
    return {one.name: {re.sub(r"[\s_]", "", name).lower() for name in {one.hm, one.name} | spellings(one)}
            for one in settings()}


def expand(file: File, rotations: Floats, shifts: Floats) -> Iterator[Crystal]:
    """The crystal that operations make of a file's sites, if there is one: whole atoms, none too close."""
    metric = file.metric
    if not fits(rotations, metric):
        return
    lattice = lattice_of(metric)
    elements: list[str] = []
    places: list[Floats] = []
    shares: list[float] = []
    for site in file.sites:
        images = _merged((rotations @ np.array(site.place) + shifts) % 1.0, lattice)
        others = [index for index, element in enumerate(elements) if element == site.element]
        near = distances(images, np.array([places[index] for index in others]).reshape(-1, 3), lattice) < MERGE
        for image, close in zip(images, near, strict=True):
            if close.any():
                index = others[int(np.argmax(close))]
                whole = site.occupancy > 0.99 and shares[index] > 0.99  # listed twice, not shared
                shares[index] += 0.0 if whole else site.occupancy
            else:
                elements.append(site.element)
                places.append(image)
                shares.append(site.occupancy)
    if not places or not all(0.99 < share < 1.01 for share in shares):
        return
    fractions = np.array(places)
    apart = distances(fractions, fractions, lattice) + 9 * np.eye(len(fractions))
    if apart.min() >= MIN_DISTANCE:
        yield Crystal(lattice, tuple(elements), fractions)


def fits(rotations: Floats, metric: Floats) -> bool:
    """Whether rotations leave a metric as it is, nearly."""
    change = np.abs(rotations.transpose(0, 2, 1) @ metric @ rotations - metric).max()
    return bool(change <= METRIC_OFF * metric.max())


def _merged(images: Floats, lattice: Floats) -> Floats:
    """Means of the images that lie within `MERGE` of each other."""
    near = distances(images, images, lattice) < MERGE
    done = np.zeros(len(images), dtype=bool)
    found = []
    for index in range(len(images)):
        if not done[index]:
            group = near[index] & ~done
            done |= group
            steps = images[group] - images[index]
            found.append(images[index] + (steps - np.rint(steps)).mean(axis=0))
    return np.array(found) % 1.0


def density(crystal: Crystal) -> float:
    """g/cm³."""
    return sum(_weights()[element] for element in crystal.elements) * DALTON / crystal.volume


def misfits(file: File, crystal: Crystal, ignore: Collection[str] = ()) -> str:
    """What the file says of itself that the crystal does not fit; empty if there is nothing."""
    return "; ".join(why for check, why in _misfits(file, crystal) if check not in ignore)


def failed_checks(file: File, crystal: Crystal) -> set[str]:
    """Of `CHECKS`, those that the crystal does not fit."""
    return {check for check, _ in _misfits(file, crystal)}


def _misfits(file: File, crystal: Crystal) -> Iterator[tuple[str, str]]:
    atoms = Counter(crystal.elements)
    if file.formula is not None:
        whole = sum(file.formula.values())
        times = len(crystal.elements) / whole
        if any(abs(file.formula[name] * times - atoms[name]) > 0.05 for name in {*file.formula, *atoms}):
            yield "formula", f"the sites are {dict(atoms)}, the formula is {dict(file.formula)}"
        # pymatgen writes the atoms of the cell as formula, beside the Z of the reduced formula
        elif file.units is not None and not np.isclose(times, file.units, rtol=1e-3) and not (
                np.isclose(times, 1.0) and all(count / file.units % 1 == 0 for count in file.formula.values())):
            yield "formula units", f"{times:g} formula units in the cell, Z is {file.units:g}"
    if file.volume is not None and abs(file.volume / crystal.volume - 1) > VOLUME_OFF:
        yield "volume", f"a volume of {crystal.volume:.2f} Å³, the file says {file.volume:g}"
    if file.density is not None and abs(file.density / density(crystal) - 1) > DENSITY_OFF:
        yield "density", f"a density of {density(crystal):.3f}, the file says {file.density:g}"

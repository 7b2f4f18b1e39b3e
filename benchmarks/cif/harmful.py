"""Mutations that damage a file or change what it says."""

from __future__ import annotations

import random
import re

from benchmarks.cif.harmless import FRACTIONS
from benchmarks.cif.mutations import (
    CELL,
    CHANGE,
    DAMAGE,
    HALLS,
    NAMES,
    NONSENSE,
    NUMBERS,
    OPERATIONS,
    REJECT,
    SAME_OR_REJECT,
    DoesNotApplyError,
    Draft,
    Loop,
    on_draft,
    on_text,
)

SYMBOLS = ("Xx", "Q", "?", ".", "D", "Uue", "X1", "C", "Fe", "O2-", "Ca+-", "ca", "FE", "1", "''", "Å", "Wat", "M",
           "nan")
STRANGE_NAMES = ("'P 1'", "'F m -3 m'", "'P 63/m m c'", "'P -1'", "'F d -3 m'", "'R -3 m'", "'C 1 2/c 1'",
                 "'I 4/m m m'", "'F m -3 m :3'", "'P 7 m m'", "'X'", "''", "?", "'P 21/q'", "225", "nan",
                 "'F  m'", "'P 1 1 1 1'")
STRANGE_OPERATIONS = ("x,y", "x,y,z,w", "x,y,q", "1/0+x,y,z", "x;y;z", "__import__('os')", "nan,y,z", "x,y,z+1e300",
                      "?", ".", "x+1/7,y,z", "2x,y,z", "x,x,z", "x-y,x+y,z", "-x,y,z", "x,y,-z", "-x,-y,-z", "y,x,z",
                      "x,y,z+1/2", "0,0,0", "x,,z", "x1,x2,x3,x4", "x,y,z,+1", "-y,x-y,z", "x*x,y,z", "x" * 5000)
STRANGE_OCCUPANCIES = (*NONSENSE, "0", "0.5", "2", "-1")


@on_text(DAMAGE)
def cut_off(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text[:rng.randint(0, len(text))]


@on_text(DAMAGE)
def cut_off_near_the_end(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text.rstrip()[:-rng.randint(1, 200)]


@on_text(DAMAGE)
def the_beginning_is_missing(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text[rng.randint(1, len(text)):]


@on_text(DAMAGE)
def a_piece_is_missing(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    start = rng.randint(0, len(text))
    return text[:start] + text[start + rng.randint(1, 300):]


@on_text(DAMAGE)
def a_line_is_missing(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    lines = text.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


@on_text(DAMAGE)
def a_line_twice(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    lines = text.split(b"\n")
    place = rng.randrange(len(lines))
    return b"\n".join([*lines[:place], *[lines[place]] * rng.choice((2, 2, 3, 300)), *lines[place + 1:]])


@on_text(DAMAGE)
def lines_swapped(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    lines = text.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


@on_text(DAMAGE)
def flipped_bits(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    found = bytearray(text)
    for _ in range(rng.choice((1, 1, 2, 20))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


@on_text(DAMAGE)
def binary_inserted(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    start = rng.randint(0, len(text))
    return text[:start] + rng.choice((rng.randbytes(rng.randint(1, 60)), b"\0" * 9, b"\x1f\x8b\x08", b"\xff\xfe",
                                      b"\x0c", b"\x1a", b"\xc2\xa0")) + text[start:]


@on_text(DAMAGE)
def unicode_inserted(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    start = rng.randint(0, len(text))
    return text[:start] + rng.choice("éЖ北🙂\u2028\u200b\u00a0\u2212１\u202e\ufeff").encode() + text[start:]


@on_text(DAMAGE)
def a_sign_removed(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    places = [place for place, sign in enumerate(text) if sign in b"'\";_#-./,()"]
    if not places:
        raise DoesNotApplyError
    place = rng.choice(places)
    return text[:place] + text[place + 1:]


@on_text(DAMAGE)
def a_word_of_the_language_inserted(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    lines = text.split(b"\n")
    lines.insert(rng.randint(0, len(lines)), rng.choice((
        b"loop_", b"data_", b"data_x", b"save_", b"save_x", b"global_", b"stop_", b";", b"'", b"_",
        b"_atom_site_fract_x 0.5")))
    return b"\n".join(lines)


@on_text(DAMAGE)
def no_data_line(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return re.sub(rb"(?im)^data_\S*", b"", text)


@on_text(DAMAGE)
def a_tag_misspelt(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    tag = rng.choice(re.findall(rb"(?m)^\s*(_\S+)", text) or [b"_none"])
    place = rng.randint(1, len(tag))
    return text.replace(tag, tag[:place] + rng.choice((b"x", b"_", b".", b"")) + tag[place + 1:], 1)


@on_text(SAME_OR_REJECT)
def in_utf_16(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode("utf-16")


@on_text(REJECT)
def no_cif(rng: random.Random, _text: bytes, _other: bytes) -> bytes:
    return rng.choice((b"", b"\n", b"\0" * 4096, rng.randbytes(4096), b"<html><body>404</body></html>", b"data_",
                       b"{}", b"loop_\n_a\n" * 2000, b"data_a\n_a " + b"(" * 100000, "🙂".encode() * 999))


@on_text(REJECT)
def two_crystals(_rng: random.Random, text: bytes, other: bytes) -> bytes:
    return text + b"\n" + re.sub(rb"(?im)^data_", b"data_other_", other.removeprefix(b"\xef\xbb\xbf"))


@on_draft(DAMAGE)
def a_loop_with_a_value_too_few(rng: random.Random, draft: Draft) -> None:
    row = rng.choice(_any_loop(rng, draft).rows)
    del row[rng.randrange(len(row))]


@on_draft(DAMAGE)
def a_loop_with_a_value_too_many(rng: random.Random, draft: Draft) -> None:
    row = rng.choice(_any_loop(rng, draft).rows)
    row.insert(rng.randint(0, len(row)), rng.choice(("0.5", "x", "?", "'a b'")))


@on_draft(DAMAGE)
def a_loop_without_a_tag(rng: random.Random, draft: Draft) -> None:
    tags = _any_loop(rng, draft).tags
    del tags[rng.randrange(len(tags))]


@on_draft(CHANGE)
def tags_of_columns_swapped(rng: random.Random, draft: Draft) -> None:
    tags = draft.atoms.tags
    first, second = rng.sample(range(len(tags)), 2)
    tags[first], tags[second] = tags[second], tags[first]


@on_draft(CHANGE)
def a_column_is_missing(rng: random.Random, draft: Draft) -> None:
    atoms = draft.atoms
    place = rng.randrange(len(atoms.tags))
    del atoms.tags[place]
    for row in atoms.rows:
        del row[place]


@on_draft(CHANGE)
def a_coordinate_is_nonsense(rng: random.Random, draft: Draft) -> None:
    rng.choice(draft.atoms.rows)[draft.atoms.at(rng.choice(FRACTIONS))] = rng.choice(NONSENSE)


@on_draft(CHANGE)
def a_coordinate_changed(rng: random.Random, draft: Draft) -> None:
    row, place = rng.choice(draft.atoms.rows), draft.atoms.at(rng.choice(FRACTIONS))
    row[place] = rng.choice((f"{rng.random():.4f}", "0", "0.5", row[place].replace(".", ""), "-" + row[place],
                             row[place][:3], "1000000", f"{rng.random():.3f}e1"))


@on_draft(CHANGE)
def a_cell_number_is_nonsense(rng: random.Random, draft: Draft) -> None:
    draft.pair(rng.choice(CELL))[1] = rng.choice((*NONSENSE, "0", "-5", "180", "1e-9", "1e9"))


@on_draft(CHANGE)
def a_cell_number_changed(rng: random.Random, draft: Draft) -> None:
    pair = draft.pair(rng.choice(CELL))
    pair[1] = f"{float(re.sub(r'[(].*', '', pair[1])) * rng.choice((0.1, 0.5, 0.9, 0.999, 1.1, 1.3, 2, 10)):.5f}"


@on_draft(CHANGE)
def a_cell_number_is_missing(rng: random.Random, draft: Draft) -> None:
    draft.items.remove(draft.pair(rng.choice(CELL)))


@on_draft(CHANGE)
def an_occupancy_changed(rng: random.Random, draft: Draft) -> None:
    rng.choice(draft.atoms.rows)[draft.atoms.at("_atom_site_occupancy")] = rng.choice(STRANGE_OCCUPANCIES)


@on_draft(SAME_OR_REJECT)
def a_column_that_nobody_needs_is_nonsense(rng: random.Random, draft: Draft) -> None:
    atoms = draft.atoms
    place = atoms.at("_atom_site_b_iso_or_equiv", "_atom_site_symmetry_multiplicity", "_atom_site_attached_hydrogens",
                     "_atom_site_u_iso_or_equiv", "_atom_site_wyckoff_symbol")
    rng.choice(atoms.rows)[place] = rng.choice(NONSENSE)


@on_draft(CHANGE)
def a_symbol_changed(rng: random.Random, draft: Draft) -> None:
    rng.choice(draft.atoms.rows)[draft.atoms.at("_atom_site_type_symbol")] = rng.choice(SYMBOLS)


@on_draft(CHANGE)
def a_label_changed(rng: random.Random, draft: Draft) -> None:
    rng.choice(draft.atoms.rows)[draft.atoms.at("_atom_site_label")] = rng.choice(SYMBOLS)


@on_draft(CHANGE)
def an_atom_is_missing(rng: random.Random, draft: Draft) -> None:
    draft.atoms.rows.remove(rng.choice(draft.atoms.rows))


@on_draft(CHANGE)
def an_atom_on_another(rng: random.Random, draft: Draft) -> None:
    atoms = draft.atoms
    if len(atoms.rows) < 2:
        raise DoesNotApplyError
    first, second = rng.sample(atoms.rows, 2)
    for tag in FRACTIONS:
        first[atoms.at(tag)] = second[atoms.at(tag)]


@on_draft(CHANGE)
def operations_dropped(rng: random.Random, draft: Draft) -> None:
    rows = draft.operations.rows
    rows[:] = rng.choice((rows[:1], rows[:len(rows) // 2], rows[:-1], rows[1:], rows[::2],
                          rng.sample(rows, rng.randint(1, len(rows) - 1))))


@on_draft(CHANGE)
def the_list_of_operations_dropped(_rng: random.Random, draft: Draft) -> None:
    draft.items.remove(draft.operations)


@on_draft(CHANGE)
def an_operation_changed(rng: random.Random, draft: Draft) -> None:
    loop = draft.operations
    rng.choice(loop.rows)[loop.at(*OPERATIONS)] = f'"{rng.choice(STRANGE_OPERATIONS)}"'


@on_draft(CHANGE)
def a_sign_of_an_operation_changed(rng: random.Random, draft: Draft) -> None:
    loop = draft.operations
    row, column = rng.choice(loop.rows), loop.at(*OPERATIONS)
    row[column] = rng.choice((row[column].replace("-", "", 1), row[column].replace("x", "-x", 1).replace("--", ""),
                              row[column].replace("1/2", "1/4", 1), row[column].replace("y", "x", 1)))


@on_draft(CHANGE)
def another_name(rng: random.Random, draft: Draft) -> None:
    draft.pair(*NAMES)[1] = rng.choice(STRANGE_NAMES)


@on_draft(CHANGE)
def another_name_alone(rng: random.Random, draft: Draft) -> None:
    """Without operations, Hall symbol and number."""
    draft.pair(*NAMES)[1] = rng.choice(STRANGE_NAMES)
    _without(draft, OPERATIONS, HALLS, NUMBERS)


@on_draft(CHANGE)
def the_name_alone(_rng: random.Random, draft: Draft) -> None:
    draft.pair(*NAMES)
    _without(draft, OPERATIONS, HALLS, NUMBERS)


@on_draft(CHANGE)
def the_number_alone(_rng: random.Random, draft: Draft) -> None:
    draft.pair(*NUMBERS)
    _without(draft, OPERATIONS, HALLS, NAMES)


@on_draft(CHANGE)
def no_symmetry_at_all(_rng: random.Random, draft: Draft) -> None:
    _without(draft, OPERATIONS, HALLS, NAMES, NUMBERS)


@on_draft(CHANGE)
def another_number(rng: random.Random, draft: Draft) -> None:
    draft.pair(*NUMBERS)[1] = rng.choice((*NONSENSE, "0", "231", "-1", "1", "14", "225", "227", "2.5", "1e2"))


@on_draft(CHANGE)
def another_hall_symbol(rng: random.Random, draft: Draft) -> None:
    draft.pair(*HALLS)[1] = rng.choice(("'-P 1'", "'P 1'", "'-F 4 2 3'", "'nonsense'", "?", "''", "'P 2ybc (0 0'",
                                         "'-P 7'"))


@on_draft(CHANGE)
def another_formula(rng: random.Random, draft: Draft) -> None:
    draft.pair("_chemical_formula_sum")[1] = rng.choice((
        "'H2 O'", "'Na Cl'", "?", "'nonsense'", "'C1e9'", "''", "'C-1'", "nan", "'Na0 Cl0'", "'Fe2 O3'"))


@on_draft(CHANGE)
def another_number_of_formula_units(rng: random.Random, draft: Draft) -> None:
    draft.pair("_cell_formula_units_z")[1] = rng.choice((*NONSENSE, "0", "-1", "7", "1000000", "1.5"))


@on_draft(CHANGE)
def another_volume(rng: random.Random, draft: Draft) -> None:
    draft.pair("_cell_volume")[1] = rng.choice((*NONSENSE, "0", "-1", "7", "100000"))


def _any_loop(rng: random.Random, draft: Draft) -> Loop:
    return rng.choice([item for item in draft.items if isinstance(item, Loop)])


def _without(draft: Draft, *families: tuple[str, ...]) -> None:
    for tags in families:
        draft.items = [item for item in draft.items if not any(
            tag.lower() in tags for tag in (item.tags if isinstance(item, Loop) else item[:1]))]

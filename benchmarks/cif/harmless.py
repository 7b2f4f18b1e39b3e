"""Mutations that change nothing of the crystal: other ways to write the same file."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from benchmarks.cif.mutations import (
    HALLS,
    NAMES,
    NUMBERS,
    OPERATIONS,
    SAME,
    SAME_OR_REJECT,
    DoesNotApplyError,
    Draft,
    Loop,
    image_of,
    on_draft,
    on_text,
)

FRACTIONS = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
AUTHORS = ("'Müller, Ж.'", "'北京 大学'", '"O\'Brien"', "'Å. Ångström 🙂'", "'data_ loop_ _cell_length_a'", "';'")
RENAMED = dict(zip((*NAMES[:1], *NUMBERS[:1], *HALLS[:1], OPERATIONS[0]),
                   ("_space_group_name_H-M_alt", "_space_group_IT_number", "_space_group_name_Hall", OPERATIONS[1]),
                   strict=True))


@on_text(SAME)
def line_ends_of_windows(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return re.sub(b"\r?\n", b"\r\n", text)


@on_text(SAME_OR_REJECT)
def line_ends_of_old_macs(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return re.sub(b"\r?\n", b"\r", text)


@on_text(SAME)
def byte_order_mark(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return b"\xef\xbb\xbf" + text.removeprefix(b"\xef\xbb\xbf")


@on_text(SAME)
def comments_and_blank_lines(rng: random.Random, text: bytes, _other: bytes) -> bytes:
    lines = text.split(b"\n")
    if any(line.startswith(b";") for line in lines):
        raise DoesNotApplyError  # in a text field a comment is text, and the field may be one that matters
    for _ in range(rng.randint(1, 9)):
        lines.insert(rng.randint(0, len(lines)), rng.choice([b"", b"# data_x loop_ 'it's", "# größe Ж".encode(), b"   ",
                                                             b"\t#\x27", b"#" * 3000]))
    return b"\n".join(lines)


@on_text(SAME)
def latin_1_in_a_comment(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text + "\n# Müller, Gödel\n".encode("latin-1")


@on_text(SAME)
def an_empty_block_before(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return b"data_global\n_journal_year 1999\n" + text.removeprefix(b"\xef\xbb\xbf")


@on_text(SAME)
def a_powder_pattern_after(_rng: random.Random, text: bytes, _other: bytes) -> bytes:
    return text + b"\ndata_powder\nloop_\n_pd_meas_2theta_scan\n_pd_meas_counts_total\n1.0 200\n1.1 210\n"


@on_draft(SAME)
def written_anew(_rng: random.Random, _draft: Draft) -> None:
    """By the writer of these mutations, with nothing changed."""


@on_draft(SAME)
def items_in_another_order(rng: random.Random, draft: Draft) -> None:
    rng.shuffle(draft.items)


@on_draft(SAME)
def columns_in_another_order(rng: random.Random, draft: Draft) -> None:
    loop = draft.atoms
    order = rng.sample(range(len(loop.tags)), len(loop.tags))
    loop.tags = [loop.tags[place] for place in order]
    loop.rows = [[row[place] for place in order] for row in loop.rows]


@on_draft(SAME)
def atoms_in_another_order(rng: random.Random, draft: Draft) -> None:
    rng.shuffle(draft.atoms.rows)


@on_draft(SAME)
def operations_in_another_order(rng: random.Random, draft: Draft) -> None:
    rng.shuffle(draft.operations.rows)


@on_draft(SAME)
def an_operation_twice(rng: random.Random, draft: Draft) -> None:
    draft.operations.rows.append(list(rng.choice(draft.operations.rows)))


@on_draft(SAME)
def operations_written_otherwise(rng: random.Random, draft: Draft) -> None:
    loop = draft.operations
    column = loop.at(*OPERATIONS)
    style = rng.choice((
        lambda text: text.upper(), lambda text: text.replace(",", " , "),
        lambda text: re.sub(r"(^|,)([^,]*?)\+?(-?\d/\d)", r"\1\3+\2", text).replace("+-", "-").replace("++", "+"),
        lambda text: text.replace("1/2", "0.5").replace("1/4", ".25").replace("3/4", "0.75"),
        lambda text: re.sub(r"(^|,)([xyz])", r"\1+\2", text.lower())))
    for row in loop.rows:
        row[column] = f"'{style(re.sub(r'[^0-9xyz,./+-]', '', row[column].lower()))}'"


@on_draft(SAME)
def case_of_tags(rng: random.Random, draft: Draft) -> None:
    change = rng.choice((str.upper, str.lower, str.swapcase, str.title))
    for item in draft.items:
        if isinstance(item, Loop):
            item.tags = [change(tag) for tag in item.tags]
        else:
            item[0] = change(item[0])


@on_draft(SAME)
def new_tags_for_old(_rng: random.Random, draft: Draft) -> None:
    if any(draft.has(new.lower()) for new in RENAMED.values()):
        raise DoesNotApplyError
    for item in draft.items:
        if isinstance(item, Loop):
            item.tags = [RENAMED.get(tag.lower(), tag) for tag in item.tags]
        else:
            item[0] = RENAMED.get(item[0].lower(), item[0])


@on_draft(SAME)
def unicode_in_an_author(rng: random.Random, draft: Draft) -> None:
    draft.items.insert(rng.randint(0, len(draft.items)), ["_publ_contact_author_email", rng.choice(AUTHORS)])


@on_draft(SAME)
def a_text_with_words_of_the_language(rng: random.Random, draft: Draft) -> None:
    text = ";\ndata_other\nloop_\n_atom_site_fract_x\n0.1 0.2\n save_ 'global_ \"\n ;not the end\n;"
    draft.items.insert(rng.randint(0, len(draft.items)), ["_publ_section_comment_of_ours", text])


@on_draft(SAME)
def a_loop_that_nobody_knows(rng: random.Random, draft: Draft) -> None:
    loop = Loop(["_our_own_id", "_our_own_fract_x", "_our_own_text"],
                [[str(row), rng.choice(("?", "nan", "0.5")), "'loop_ x'"] for row in range(rng.randint(1, 40))])
    draft.items.insert(rng.randint(0, len(draft.items)), loop)


@on_draft(SAME)
def a_loop_of_displacements(_rng: random.Random, draft: Draft) -> None:
    if draft.has("_atom_site_aniso_label", "_atom_site_aniso_u_11"):
        raise DoesNotApplyError
    atoms = draft.atoms
    label = atoms.at("_atom_site_label")
    draft.items.insert(0, Loop(["_atom_site_aniso_label", "_atom_site_aniso_U_11"],
                               [[row[label], "0.01(1)"] for row in atoms.rows]))


def _decimal_coordinates(draft: Draft, pattern: str) -> Iterator[tuple[list[str], int]]:
    """Row of the atoms and place in it, for each coordinate that is written so."""
    for row in draft.atoms.rows:
        for tag in FRACTIONS:
            if re.fullmatch(pattern, row[draft.atoms.at(tag)]):
                yield row, draft.atoms.at(tag)


@on_draft(SAME)
def errors_in_brackets(rng: random.Random, draft: Draft) -> None:
    for row, place in _decimal_coordinates(draft, r"-?\d*\.\d+"):
        row[place] += f"({rng.randint(1, 19)})"


@on_draft(SAME)
def numbers_written_otherwise(rng: random.Random, draft: Draft) -> None:
    for row, place in _decimal_coordinates(draft, r"\d*\.\d+"):
        row[place] = rng.choice((row[place] + "000", "+" + row[place], f"{float(row[place]):.10e}",
                                 row[place].removeprefix("0") if float(row[place]) else row[place]))


@on_draft(SAME_OR_REJECT)
def numbers_in_quotes(_rng: random.Random, draft: Draft) -> None:
    for row in draft.atoms.rows:
        row[:] = [value if value[0] in "'\";" else f"'{value}'" for value in row]


@on_draft(SAME)
def one_value_a_line(_rng: random.Random, draft: Draft) -> None:
    for item in draft.items:
        if isinstance(item, Loop):
            item.rows = [[value if value.startswith(";") else value + "\n" for value in row] for row in item.rows]


@on_draft(SAME)
def atoms_in_another_cell(rng: random.Random, draft: Draft) -> None:
    atoms = draft.atoms
    places = [atoms.at(tag) for tag in FRACTIONS]
    for row in atoms.rows:
        shift = (rng.randint(-2, 2), rng.randint(-2, 2), rng.randint(-2, 2))
        for place, value in zip(places, image_of([row[place] for place in places], "x,y,z", shift), strict=True):
            row[place] = value


@on_draft(SAME)
def another_image_of_each_atom(rng: random.Random, draft: Draft) -> None:
    atoms, operations = draft.atoms, draft.operations
    column, places = operations.at(*OPERATIONS), [atoms.at(tag) for tag in FRACTIONS]
    for row in atoms.rows:
        triplet = rng.choice(operations.rows)[column]
        for place, value in zip(places, image_of([row[place] for place in places], triplet), strict=True):
            row[place] = value


@on_draft(SAME)
def the_name_spelt_otherwise(rng: random.Random, draft: Draft) -> None:
    draft.loop(*OPERATIONS)
    pair = draft.pair(*NAMES)
    name = pair[1].strip("'\"")
    pair[1] = "'" + rng.choice((name.replace(" ", ""), name.replace(" ", "_"), name.lower(), f" {name} ",
                                name.replace(" ", "  "))) + "'"


@on_draft(SAME_OR_REJECT)
def an_atom_twice(rng: random.Random, draft: Draft) -> None:
    draft.atoms.rows.append(list(rng.choice(draft.atoms.rows)))

"""Whom to cite for the rows of a query."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.__main__ import app
from features.catalog.citing import entries, works_of
from features.errors import UserError
from tests.features.catalog.test_validate import of_149, spoil

MP, ELASTIC = "10.1063/1.4812323", "10.1038/sdata.2015.9"


def cite(root: Path, query: str, *options: str) -> str:
    made = CliRunner().invoke(app, ["cite", query, "--root", str(root), *options])
    if made.exception:
        raise made.exception
    return made.stdout


@pytest.fixture
def licensed(root: Path) -> Path:
    """mp-149 with a licence and works to cite; the others are the user's own."""
    spoil(root, "materials", of_149(license="CC-BY-4.0", citation=f"{ELASTIC} {MP} 10.1234/odd_one(1)"))
    return root


def test_exactly_the_rows_of_a_query(licensed: Path) -> None:
    told = json.loads(cite(licensed, "select material_id, variant from text_embeddings", "--format", "json"))
    assert (told["rows"], told["crystals"], told["nameless"]) == (12, 6, 5)
    assert told["licences"] == [{"license": "unknown", "rows": 10, "crystals": 5},
                                {"license": "CC-BY-4.0", "rows": 2, "crystals": 1}]
    assert [(work["name"], work["rows"], work["crystals"]) for work in told["works"]] == [
        (ELASTIC, 2, 1), (MP, 2, 1), ("10.1234/odd_one(1)", 2, 1)]
    assert cite(licensed, "select material_id from materials where material_id <> 'mp-149'") == (
        "% 5 rows of 5 crystals; licences and works are those of the work tree, since nothing is published\n"
        "% licence unknown: 5 rows of 5 crystals\n"
        "% crystals whose source names nobody to cite: 5\n")


def test_what_is_printed_is_a_bib_file(licensed: Path) -> None:
    text = cite(licensed, "select * from materials where material_id = 'mp-149'")
    assert text.startswith("% 1 row of 1 crystal; licences and works are those of the work tree, since nothing is "
                           "published\n% licence CC-BY-4.0: 1 row of 1 crystal\n\n% for 1 row of")
    assert "@article{jain2013,\n  author = {Jain, Anubhav and Ong, " in text
    assert "@misc{10_1234_odd_one_1,\n  doi = {10.1234/odd_one(1)},\n  url = {https://doi.org/" in text
    assert text.count("@") == 3
    assert text.count("{") == text.count("}")


def test_a_query_without_ids(sound: Path) -> None:
    with pytest.raises(UserError, match="the query does not return material_id, which says whose rows these are"):
        cite(sound, "select formula from materials")
    with pytest.raises(UserError, match=r"1 of 1 crystals are not in materials of the work tree, .* --at REV"):
        cite(sound, "select 'nobody' as material_id")


def test_rows_without_ids_are_counted(licensed: Path) -> None:
    query = "select material_id as Material_ID from materials where material_id = 'mp-149' union all select null"
    assert json.loads(cite(licensed, query, "--format", "json"))["without_id"] == 1
    assert "% rows without material_id, whose licence nobody can tell: 1\n" in cite(licensed, query)
    with pytest.raises(UserError, match="material_id of the query is no text but int32"):
        cite(licensed, "select 1 as material_id")


def test_words_of_a_source_that_are_no_dois() -> None:
    assert works_of("10.1/x") == ["10.1/x"]  # no DOI: the prefix has four digits
    assert works_of(f"{MP} {MP}  {ELASTIC}") == [MP, ELASTIC]
    assert works_of("Smith, private  communication") == ["Smith, private communication"]
    assert works_of("") == []
    made = entries(["J. {Smith} \\input{x}", MP.upper()])
    assert made["J. {Smith} \\input{x}"] == "@misc{J_Smith_input_x,\n  note = {J. Smith inputx}\n}"
    assert made[MP.upper()].startswith("@article{jain2013,")

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from features.cif.operations import Operations, from_triplets
from features.cif.symmetry import from_hall, of_name, of_number
from features.errors import RowError


@pytest.mark.parametrize(("name", "setting"), [
    ("P 21/n", "P 1 21/n 1"), ("P2_1/c", "P 1 21/c 1"), ("P 2(1)/c", "P 1 21/c 1"), ("P 1 21/c 1", "P 1 21/c 1"),
    ("Fm3m", "F m -3 m"), ("F m -3 m", "F m -3 m"), ("F 4/m -3 2/m", "F m -3 m"), ("I a 3 d", "I a -3 d"),
    ("F d -3 m :1", "F d -3 m:1"), ("Fd-3m:2", "F d -3 m:2"), ("F d 3 m S", "F d -3 m:1"), ("Fd-3m Z", "F d -3 m:2"),
    ("P n n n (origin choice 2)", "P n n n:2"), ("F d -3 m (origin 1)", "F d -3 m:1"),
    ("R -3 m :H", "R -3 m:H"), ("R -3 m :R", "R -3 m:R"), ("R -3 m R", "R -3 m:R"), ("r-3m(h)", "R -3 m:H"),
    ("P 63/m m c :1", "P 63/m m c"), ("C m c e", "C m c a"), ("P b n m", "P b n m"), ("C 1 2/c 1", "C 1 2/c 1"),
    ("P 21/n 21/m 21/a", "P n m a"), ("I 41/a m d S", "I 41/a m d:1"), ("P -1", "P -1"), ("P1", "P 1"),
])
def test_names(name: str, setting: str) -> None:
    assert of_name(name)[0].xhm() == setting


@pytest.mark.parametrize("name", ["", "X4bm", "P 7", "F d -3 m :3", "R -3 m :Q", "?", "P 21/q", "1", "225"])
def test_what_is_no_name(name: str) -> None:
    assert of_name(name) == []


def test_a_name_without_an_origin_means_both() -> None:
    assert [setting.xhm() for setting in of_name("F d -3 m")] == ["F d -3 m:1", "F d -3 m:2"]
    assert [setting.xhm() for setting in of_name("R 3 c")] == ["R 3 c:H", "R 3 c:R"]


def test_every_setting_of_the_tables_under_its_own_name_and_hall_symbol() -> None:
    for setting in gemmi.spacegroup_table():
        assert of_name(setting.xhm())[0].xhm() == setting.xhm()
        hall = from_hall(setting.hall)
        assert hall is not None
        assert hall.keys == Operations.of(setting.operations()).keys
        assert hall.number == setting.number


@pytest.mark.parametrize(("number", "standard"), [
    (14, "P 1 21/c 1"), (227, "F d -3 m:2"), (166, "R -3 m:H"), (1, "P 1"),
])
def test_the_standard_setting_of_a_number(number: int, standard: str) -> None:
    assert of_number(number)[0].xhm() == standard


@pytest.mark.parametrize("hall", ["", "F m -3 m", "-P 9", "nonsense", "P 2 3 4 5 6"])
def test_what_is_no_hall_symbol(hall: str) -> None:
    assert from_hall(hall) is None


def test_a_list_of_operations_is_a_group_or_not() -> None:
    triplets = tuple(operation.triplet() for operation in gemmi.find_spacegroup_by_name("P 63/m m c").operations())
    whole = from_triplets((*triplets, triplets[3]), "tag")
    assert (len(whole), whole.is_group, whole.number) == (24, True, 194)
    assert from_triplets(triplets[1:], "tag").is_group  # the identity goes without saying
    assert not from_triplets(triplets[:-1], "tag").is_group
    assert not from_triplets(("x+y,y,z",), "tag").is_group


@pytest.mark.parametrize("triplet", ["x,y", "x,y,x", "a,b,c", "x/2,y,z", "x,y,z+1/5", "x,y,q", "", "x,y,z,t", "x;y;z",
                                     "x+99999999999,y,z"])
def test_what_is_no_operation(triplet: str) -> None:
    with pytest.raises(RowError, match="_tag, value 1"):
        from_triplets((triplet,), "_tag")


@pytest.mark.parametrize("triplet", [
    "-X, Y+1/2, -Z", "1/2-x,y,z", "x+.5,y,z", "x+0.3333,y,z", "-x,-y,-z,-1", "x+0.167,y,z", "'-x, -y, z'", "x,y,z+.67",
    "2 x,-y,z",
])
def test_operations_however_they_are_written(triplet: str) -> None:
    assert len(from_triplets((triplet,), "tag")) == 2


def test_a_cell_that_does_not_fit_is_measured() -> None:
    cubic = Operations.of(gemmi.find_spacegroup_by_name("F m -3 m").operations())
    assert cubic.misfit(np.diag([25.0, 25.0, 25.0])) == pytest.approx(0)
    assert cubic.misfit(np.diag([25.0, 25.0, 26.01])) == pytest.approx(0.04, abs=0.005)

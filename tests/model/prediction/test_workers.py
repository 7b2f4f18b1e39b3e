"""Features by processes: in order, bounded, and a bad crystal costs nothing but itself."""

from collections.abc import Iterator

import pytest

from model.prediction.inputs import Given
from model.prediction.workers import AHEAD, Workers
from tests.model.prediction.scripted import Scripted

RECIPE = Scripted({}, None, False)


def test_one_that_hangs_or_dies_is_one_error() -> None:
    texts = ["a", "hang", "b", "die", *"cdefghijkl"]
    with Workers(RECIPE, 2, timeout_s=2.0) as workers:
        made = list(workers.map(Given(str(number), text, ".cif") for number, text in enumerate(texts)))
    assert [one.name for one in made] == [str(number) for number in range(len(texts))]
    errors = {one.name: one.error for one in made}
    assert errors.pop("1") == "timeout: took longer than 2 s"
    assert errors.pop("3") == "crash: the process that read it died (SIGKILL)"
    assert set(errors.values()) == {f"rejected: {text}" for text in texts if len(text) == 1}


def test_an_error_of_the_machine_stops_all() -> None:
    with Workers(RECIPE, 1) as workers, pytest.raises(MemoryError):
        list(workers.map([Given("a", "no memory", ".cif"), Given("b", "b", ".cif")]))


def test_a_bound_of_memory_is_the_crystals() -> None:
    """Each alone, and the process lives on."""
    with Workers(RECIPE, 1, memory_bytes=6_000_000_000) as workers:
        made = [workers.one(Given(text, text, ".cif")).error for text in ("large", "no memory", "a")]
    assert made == ["memory: needs more than 6 GB of memory"] * 2 + ["rejected: a"]


def test_no_more_is_read_than_is_needed() -> None:
    taken = 0

    def crystals() -> Iterator[Given]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield Given(str(number), error="known: before")

    with Workers(RECIPE, 2) as workers:
        for got, made in enumerate(workers.map(crystals()), start=1):
            assert made.error == "known: before"
            assert taken <= got + 2 * AHEAD
    assert taken == 50

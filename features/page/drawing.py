"""Drawings of a page, as numbers that a template writes into SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 240, 64
"""Of a histogram, in its own units."""
BOX, GAP, ROW = 150, 42, 44
"""Width of a table in the graph, room between stages, height of a row."""


@dataclass(frozen=True)
class Bar:
    """A bin: place, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


def bars(profile: Mapping[str, Any], unit: str) -> list[Bar]:
    """Bars of a histogram. All bins are equally wide, so that decades are where the histogram is one of logarithms."""
    counts = profile["counts"] or []
    if not counts:
        return []
    edges, most = profile["edges"], max(counts)
    step = WIDTH / len(counts)
    found = []
    for place, count in enumerate(counts):
        # a single crystal can still be seen
        height = 0.0 if not count else max(1.5, HEIGHT * count / most)
        found.append(Bar(round(place * step, 2), round(HEIGHT - height, 2), round(max(step - 1, step * 0.7), 2),
                         round(height, 2), f"{span(edges[place], edges[place + 1], unit)}: {count:,}"))
    return found


def span(low: float, high: float, unit: str) -> str:
    """A bin in words; one of whole numbers, whose edges lie between them, as these numbers."""
    behind = f" {unit}" if unit else ""
    if low % 1 == 0.5 and high % 1 == 0.5:
        first, last = round(low + 0.5), round(high - 0.5)
        return f"{first:,}{behind}" if first == last else f"{first:,} to {last:,}{behind}"
    return f"{number(low)} to {number(high)}{behind}"


def number(value: float | None) -> str:
    """A number with four significant digits and a real minus."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        text = f"{int(value):,}"
    elif value != 0 and not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.3e}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def is_logarithmic(profile: Mapping[str, Any]) -> bool:
    """Whether the bins of a histogram are equal steps of the logarithm."""
    edges = profile["edges"] or []
    return len(edges) > 2 and edges[0] > 0 and (edges[-1] - edges[-2]) > 1.5 * (edges[1] - edges[0])


@dataclass(frozen=True)
class Node:
    """A table in the graph of tables."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Graph:
    """Tables by stages from left to right, and the curves from each to those that are made from it."""

    width: float
    height: float
    nodes: list[Node]
    edges: list[tuple[str, str, str]]
    """From, to, and the path."""


def graph(upstream: Mapping[str, Sequence[str]]) -> Graph:
    """Lays out tables, given in an order in which each comes after those that it is made from.

    An edge that a longer way says already is left out: what is made from descriptions is made from crystals.
    """
    level: dict[str, int] = {}
    behind: dict[str, set[str]] = {}
    for name in upstream:
        here = [parent for parent in upstream[name] if parent in level]
        level[name] = 1 + max((level[parent] for parent in here), default=-1)
        behind[name] = set(here).union(*(behind[parent] for parent in here))
    rows: dict[int, list[str]] = {}
    for name, place in level.items():
        rows.setdefault(place, []).append(name)
    tallest = max(map(len, rows.values()), default=0)
    nodes = {name: Node(name, place * (BOX + GAP) + 2, (tallest - len(names)) * ROW / 2 + number * ROW + 2)
             for place, names in rows.items() for number, name in enumerate(names)}
    edges = []
    for name in upstream:
        parents = [parent for parent in upstream[name] if parent in nodes]
        direct = [parent for parent in parents if not any(parent in behind[other] for other in parents)]
        for parent in direct:
            start, end = nodes[parent], nodes[name]
            x, y, to_x, to_y = start.x + BOX, start.y + 15, end.x, end.y + 15
            bend = (to_x - x) / 2
            edges.append((parent, name, f"M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x:g} {to_y:g}"))
    return Graph(max(1, len(rows)) * (BOX + GAP) - GAP + 4, tallest * ROW + 4, list(nodes.values()), edges)

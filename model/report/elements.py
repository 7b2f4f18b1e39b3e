"""The periodic table, as rows of a page's table."""

from __future__ import annotations

from collections.abc import Mapping

PERIODS = (
    "H . . . . . . . . . . . . . . . . He",
    "Li Be . . . . . . . . . . B C N O F Ne",
    "Na Mg . . . . . . . . . . Al Si P S Cl Ar",
    "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr",
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
    "Cs Ba La Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
    "Fr Ra Ac Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og",
    ". . . Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu .",
    ". . . Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr .",
)
"""A dot is an empty place."""
STEPS = 6
"""Colours of the table; each stands for a range of values."""


def table(values: Mapping[str, float]) -> list[list[tuple[str, int | None] | None]]:
    """For each row and place the element and its step from 0 to `STEPS` - 1, None for one without a value."""
    top = max(values.values(), default=0.0)
    return [[None if name == "." else (name, step_of(values[name], top) if name in values else None)
             for name in period.split()] for period in PERIODS]


def step_of(value: float, top: float) -> int:
    """The step of a value, of equal ranges from 0 to `top`."""
    return 0 if top <= 0 else min(int(value / top * STEPS), STEPS - 1)

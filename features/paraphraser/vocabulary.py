"""The terms of the field that descriptions of crystals use, and other forms of the same terms."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_SYMBOL_LIST = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
    "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm")
_NAME_LIST = (
    "hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium aluminium "
    "silicon phosphorus sulfur chlorine argon potassium calcium scandium titanium vanadium chromium manganese "
    "iron cobalt nickel copper zinc gallium germanium arsenic selenium bromine krypton rubidium strontium yttrium "
    "zirconium niobium molybdenum technetium ruthenium rhodium palladium silver cadmium indium tin antimony "
    "tellurium iodine xenon caesium barium lanthanum cerium praseodymium neodymium promethium samarium europium "
    "gadolinium terbium dysprosium holmium erbium thulium ytterbium lutetium hafnium tantalum tungsten rhenium "
    "osmium iridium platinum gold mercury thallium lead bismuth polonium astatine radon francium radium actinium "
    "thorium protactinium uranium neptunium plutonium americium curium")
_UNIT_LIST = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen")
_TENS_LIST = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINAL_LIST = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth")

ELEMENTS = dict(zip(_SYMBOL_LIST.split(), _NAME_LIST.split(), strict=True))
"""Names by symbol."""
UNITS, TENS = _UNIT_LIST.split(), _TENS_LIST.split()
NUMBER_WORDS = {word: number for number, word in enumerate(UNITS)} | {
    word: 10 * number for number, word in enumerate(TENS, start=2)} | {
    f"{tens}-{unit}": 10 * number + one for number, tens in enumerate(TENS, start=2)
    for one, unit in enumerate(UNITS[1:10], start=1)}
ORDINALS = (*_ORDINAL_LIST.split(), *(f"{tens}-{unit}" for tens in TENS for unit in _ORDINAL_LIST.split()[:9]),
            *(f"{tens[:-1]}ieth" for tens in TENS))

SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
COMPONENT_SHAPES = ("framework", "sheet", "ribbon", "cluster", "molecule")
GEOMETRIES = (
    "body-centered cubic", "trigonal planar", "square co-planar", "q2", "q4", "q6", "linear", "bent 120 degrees",
    "bent 150 degrees", "water-like", "rectangular see-saw-like", "see-saw-like", "trigonal non-coplanar",
    "single-bond", "T-shaped", "L-shaped", "octahedral", "tetrahedral", "cuboctahedral", "hexagonal planar",
    "pentagonal planar", "square pyramidal", "trigonal pyramidal", "pentagonal pyramidal", "hexagonal pyramidal",
    "trigonal bipyramidal", "square bipyramidal", "pentagonal bipyramidal", "hexagonal bipyramidal",
)
"""Adjectives by which Robocrystallographer calls the surroundings of a site, besides "5-coordinate"."""
_PYRAMIDS = tuple(f"{base} {solid}" for base in ("trigonal", "square", "pentagonal", "hexagonal")
                  for solid in ("pyramid", "bipyramid"))
SHAPES = {"octahedra": "octahedron", "octahedron": "octahedron", "tetrahedra": "tetrahedron",
          "tetrahedron": "tetrahedron", "cuboctahedra": "cuboctahedron", "cuboctahedron": "cuboctahedron",
          **{plural: name for name in _PYRAMIDS for plural in (name, f"{name}s")}}
"""Solids, in the singular by either form."""

_PLAIN_LIST = (
    "a adopt adopts all along among amount amounts an and angle angles are around arrangement arrangements as at "
    "atom atoms be being belong belonging belongs beside between bind binding binds bond bonded bonding bonds "
    "both bound build builds built by come comes compound comprise comprises comprising connect connected "
    "connects consist consisting consists contain containing contains coordinate coordinated coordinates "
    "coordinating coordination crystal crystalline crystallise crystallises crystallization crystallize "
    "crystallizes crystallizing crystals described direction directions distance distances each environment "
    "environments equal equals every exhibit exhibiting exhibits exist exists fall falls following for form "
    "formed forming forms from geometries geometry give gives giving group had has have having here in inside "
    "into is it its itself join joined joins known label labelled length lengths lie lies link linked links "
    "located long lying made make makes material measure measured measures measuring neighbor neighboring "
    "neighbors neighbour neighbouring neighbours network occupied occupies occupy occupying of on ones "
    "orientation oriented over pointing polyhedra polyhedron possess possesses range ranges ranging respectively "
    "result resulting results share shared shares sharing show shows side sides sit site sites sits space span "
    "spanning spans spread stand stands structural structure structured structures surround surrounded "
    "surrounding surroundings surrounds symmetry take takes taking that the their them there these they this "
    "those to together type unit up value values vary varying what where which while whose with within")
PLAIN = frozenset(_PLAIN_LIST.split())
"""Words that join facts and state none themselves. Any other word that the parser cannot place counts as a claim."""

_WORDS = re.compile(r"\b(?:" + "|".join(sorted(NUMBER_WORDS, key=lambda w: -len(w)))
                    + r")\b(?!-(?:" + "|".join(_ORDINAL_LIST.split()) + r")\b)", re.IGNORECASE)
_SYMBOLS = {name: symbol for symbol, name in ELEMENTS.items()} | {"sulphur": "S", "aluminum": "Al", "cesium": "Cs"}
_NAMES = re.compile(r"\b(?:" + "|".join(sorted(_SYMBOLS, key=lambda w: -len(w))) + r")\b", re.IGNORECASE)


NORMAL_FORM: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"[\u2010\u2011\u2012\u2013\u2212]"), "-"),
    (re.compile(r"(?<=\d) ?(?:ångströms?|angstroms?)\b|(?<=\d)Å", re.IGNORECASE), " Å"),
    (re.compile(r"(?<=bent )(\d+)( ?°)"), r"\1 degrees"),
    (re.compile(r"(?<!bent 120)(?<!bent 150)(?<=\d) degrees\b"), "°"),
    (_NAMES, lambda m: _SYMBOLS[m[0].lower()]),
    (re.compile(r"\bIn(?= (?:the|each|this|its|an?|which|total|all|[a-z-]+ of) )"), "in"),  # not indium
    (re.compile(r"\b[Aa] single(?= [A-Z])"), "1"),
    (_WORDS, lambda m: str(NUMBER_WORDS[m[0].lower()])),
    (re.compile(r"\b(\d+)-fold[- ]coordinat(?:ed?|ion)\b"), r"\1-coordinate"),
    (re.compile("-coordinated"), "-coordinate"),
)
"""What is replaced by what, one after the other, until numbers are digits, elements are symbols, and units and hyphens
are written in one way. No pattern finds an empty piece or a blank behind a word, so that a token of the result leads
back to whole words of the text (`features.words.traced`)."""


def normalise(text: str) -> str:
    """A text in `NORMAL_FORM`."""
    for pattern, by in NORMAL_FORM:
        text = pattern.sub(by, text)
    return text


@functools.lru_cache(maxsize=1)
def space_groups() -> frozenset[str]:
    """Short Hermann-Mauguin symbols of all settings, as spglib writes them."""
    import spglib

    groups = (spglib.get_spacegroup_type(hall) for hall in range(1, 531))
    return frozenset(kind.international_short for kind in groups if kind is not None)


def is_formula(word: str) -> bool:
    """Whether a word is made of element symbols, site numbers and amounts."""
    bare = re.sub(r"\(\d+(?:,\d+)*\)|[()\d.]", "", word)
    symbols = re.findall(r"[A-Z][a-z]?", bare)
    return bool(symbols) and "".join(symbols) == bare and all(symbol in ELEMENTS for symbol in symbols)

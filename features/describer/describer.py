"""Robocrystallographer's describer, each sentence on its own: one that cannot be said is left out.

Every word is stock's. Only where stock stops with an error does the text go on here, with the next sentence.
"""

from __future__ import annotations

import re
from typing import Any

from robocrys import StructureDescriber

from features.describer.pieces import Pieces

GAP = "\0"  # stands in stock's text for what is left out
_SITE_GAP = re.compile(rf"(?:In the [a-z -]+ [A-Z]\S* site, )?{GAP}")
_COMPONENT_GAP = re.compile(rf"In (?:the|each|[a-z -]+ of the) \S+ [a-z]+, {GAP} ?")


class Describer(StructureDescriber):
    """A describer that takes the condensed structures of `Condenser`. A new one for each crystal: it keeps state."""

    def describe(self, condensed_structure: dict[str, Any]) -> str:
        """The text, see the stock method; what is missing in it is noted in `condensed_structure["pieces"]`."""
        self._pieces: Pieces = condensed_structure["pieces"]
        text: str = super().describe(condensed_structure)
        return text

    def get_component_makeup_summary(self) -> str:
        """Which components there are, see the stock method."""
        components = self._da.components.values()
        if any(part["dimensionality"] in (1, 2) and part["orientation"] is None for part in components):
            self._pieces.left_out.append("components")
            return ""
        if not components:
            return ""
        return self._pieces.unless_it_fails("components", super().get_component_makeup_summary, "")

    def get_all_component_descriptions(self) -> str:
        """The sites of all components, see the stock method."""
        text = self._pieces.unless_it_fails("sites", super().get_all_component_descriptions, "")
        return _COMPONENT_GAP.sub("", text).replace(GAP, "").strip()

    def get_component_description(self, component_index: int, single_component: bool = False) -> str:
        """The sites of a component, see the stock method; a gap if none can be described."""
        stock = super().get_component_description
        text = self._pieces.unless_it_fails("sites", lambda: stock(component_index, single_component), "")
        rest = re.sub(" +", " ", _SITE_GAP.sub("", text)).strip() if GAP in text else text
        if text.startswith(GAP) and not single_component:  # stock goes on after "In the SiO2 sheet,"
            rest = re.sub("^There", "there", rest)
        return rest or GAP

    def get_site_description(self, site_index: int) -> str:
        """Surroundings of a site, see the stock method; a gap if they cannot be described."""
        stock = super().get_site_description
        return self._pieces.unless_it_fails("site", lambda: stock(site_index), GAP)

    def get_octahedral_tilt_description(self, site_index: int) -> str:
        """Tilt of octahedra, see the stock method."""
        stock = super().get_octahedral_tilt_description
        return self._pieces.unless_it_fails("tilt", lambda: stock(site_index), "")

    def get_bond_length_description(self, from_site: int, to_sites: list[int]) -> str:
        """Bond lengths to one kind of neighbour, see the stock method."""
        stock = super().get_bond_length_description
        return self._pieces.unless_it_fails("bond length", lambda: stock(from_site, to_sites), "")

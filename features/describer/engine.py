"""The describer: Robocrystallographer's text, from shared and remembered intermediate results.

Everything that decides words is Robocrystallographer's: its describer, its mineral table, its rules for formulas,
components and equivalent sites. What is computed more than once there is computed once here.
"""

from __future__ import annotations

from typing import Any

from pymatgen.analysis.dimensionality import get_structure_components
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from robocrys.condense.component import (
    components_are_vdw_heterostructure,
    get_component_formula,
    get_structure_inequiv_components,
    get_vdw_heterostructure_information,
)
from robocrys.condense.condenser import StructureCondenser

from features.describer.minerals import Minerals
from features.describer.neighbours import OrbitNN
from features.describer.site_fingerprints import Fingerprints
from features.describer.sites import Sites


class Condenser(StructureCondenser):
    """A condenser that shares neighbours and fingerprints between its parts. One per process; not for threads."""

    def __init__(self) -> None:
        neighbours = OrbitNN()
        self.fingerprints = Fingerprints(neighbours)
        super().__init__(near_neighbors=neighbours, mineral_matcher=Minerals(self.fingerprints))

    def condense_structure(self, structure: Any) -> dict[str, Any]:
        """The condensed structure, see the stock method."""
        structure = structure.get_sorted_structure()
        structure.translate_sites(range(structure.num_sites), [1, 1, 1])  # wraps all sites into the cell
        symmetry = SpacegroupAnalyzer(structure, symprec=self.symprec)
        structure = symmetry.get_conventional_standard_structure()
        bonded = self.near_neighbors.get_bonded_structure(structure)
        components = get_structure_components(bonded, inc_orientation=True, inc_site_ids=True, inc_molecule_graph=True)
        sites = Sites(bonded, self.fingerprints, self.symprec)
        condensed = {
            "formula": self._condense_formula(structure, components),
            "spg_symbol": symmetry.get_space_group_symbol(),
            "crystal_system": symmetry.get_crystal_system(),
            "mineral": self._condense_mineral(structure, components),
            "dimensionality": max(component["dimensionality"] for component in components),
            "sites": sites.get_all_site_summaries(),
            "distances": sites.get_all_bond_distance_summaries(),
            "angles": sites.get_all_connectivity_angle_summaries(),
            "nnn_distances": sites.get_all_nnn_distance_summaries(),
        }
        condensed["components"], condensed["component_makeup"] = self._parts(components, sites)
        condensed["vdw_heterostructure_info"] = get_vdw_heterostructure_information(
            components, use_iupac_formula=self.use_iupac_formula, use_common_formulas=self.use_common_formulas,
        ) if components_are_vdw_heterostructure(components) else None
        return condensed

    def _parts(self, components: list[Any], sites: Sites) -> tuple[dict[int, dict[str, Any]], list[int]]:
        """Inequivalent components and which of them make up the crystal.

        Molecules stay nameless, as in stock without openbabel; with it, stock would ask a web service.
        """
        parts: dict[int, dict[str, Any]] = {}
        makeup: list[int] = []
        for number, component in enumerate(get_structure_inequiv_components(components)):
            parts[number] = {
                "formula": get_component_formula(component, use_iupac_formula=self.use_iupac_formula,
                                                 use_common_formulas=self.use_common_formulas),
                "dimensionality": component["dimensionality"],
                "orientation": component["orientation"],
                "molecule_name": None,
                "sites": sites.get_inequivalent_site_indices(component["site_ids"]),
            }
            makeup += [number] * component["count"]
        return parts, makeup

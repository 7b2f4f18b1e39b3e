"""The describer: Robocrystallographer's text, from shared and remembered intermediate results.

Everything that decides words is Robocrystallographer's: its describer, its mineral table, its rules for formulas,
components and equivalent sites. What is computed more than once there is computed once here, and what stock cannot find
out of a crystal does not take the rest with it.
"""

from __future__ import annotations

from typing import Any

from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from robocrys.condense.component import (
    components_are_vdw_heterostructure,
    get_component_formula,
    get_sym_inequiv_components,
    get_vdw_heterostructure_information,
)
from robocrys.condense.condenser import StructureCondenser

from features.describer.bonds import Bonds
from features.describer.components import get_structure_components, get_structure_inequiv_components
from features.describer.minerals import Minerals
from features.describer.neighbours import OrbitNN
from features.describer.pieces import Pieces
from features.describer.site_fingerprints import Fingerprints
from features.describer.sites import Sites, images

NO_MINERAL = {"type": None, "distance": -1, "n_species_type_match": True, "simplified": False}
NO_SITES: dict[str, Any] = {"sites": {}, "atoms": {}, "distances": {}, "angles": {}, "nnn_distances": {}}


class Condenser(StructureCondenser):
    """A condenser that shares neighbours and fingerprints between its parts. One per process; not for threads."""

    def __init__(self) -> None:
        neighbours = OrbitNN()
        self.fingerprints = Fingerprints(neighbours)
        super().__init__(near_neighbors=neighbours, mineral_matcher=Minerals(self.fingerprints))

    def condense_structure(self, structure: Any) -> dict[str, Any]:
        """The condensed structure, see the stock method; `pieces` says where stock would have stopped with an error.

        Where it finds no bonds for an atom, formula and space group are all that remains.
        """
        pieces = Pieces()
        given, structure = structure, structure.get_sorted_structure()
        structure.translate_sites(range(structure.num_sites), [1, 1, 1])  # wraps all sites into the cell
        symmetry = self._symmetry(structure, pieces)
        cell = pieces.first_of("cell", symmetry.get_conventional_standard_structure, lambda: structure)
        condensed = {
            "pieces": pieces,
            "spg_symbol": symmetry.get_space_group_symbol(),
            "crystal_system": symmetry.get_crystal_system(),
        }
        bonded = pieces.unless_it_fails("bonds", lambda: self.near_neighbors.get_bonded_structure(cell), None)
        if bonded is None:
            return condensed | NO_SITES | {
                "formula": cell.composition.reduced_formula, "mineral": NO_MINERAL, "dimensionality": None,
                "components": {}, "component_makeup": [], "vdw_heterostructure_info": None}
        bonds = Bonds(bonded)
        components = _components(bonds, pieces)
        sites = pieces.unless_it_fails("sites", lambda: self._sites(bonds, pieces), None)
        condensed |= {
            "formula": pieces.first_of("formula", lambda: self._condense_formula(cell, components),
                                       lambda: cell.composition.reduced_formula),
            "mineral": pieces.unless_it_fails("mineral", lambda: self._condense_mineral(cell, components), NO_MINERAL),
            "dimensionality": max(component["dimensionality"] for component in components),
        }
        condensed |= NO_SITES if sites is None else pieces.unless_it_fails(
            "sites", lambda: _summaries(sites) | {
                "atoms": sites.atoms(images(given, None if cell is structure else symmetry))}, NO_SITES)
        condensed["components"], condensed["component_makeup"] = self._parts(
            bonded, components, sites if condensed["sites"] else None, pieces)
        condensed["vdw_heterostructure_info"] = pieces.first_of(
            "layers", lambda: self._layers(components), lambda: None)
        return condensed

    def _symmetry(self, structure: Any, pieces: Pieces) -> Any:
        """Symmetry within stock's angle of 5°; where spglib finds none so, by lengths alone."""
        return pieces.first_of(
            "symmetry", lambda: SpacegroupAnalyzer(structure, symprec=self.symprec),
            lambda: SpacegroupAnalyzer(structure, symprec=self.symprec, angle_tolerance=-1))

    def _sites(self, bonds: Bonds, pieces: Pieces) -> Sites:
        orbits = self._symmetry(bonds.bonded_structure.structure, pieces).get_symmetry_dataset().equivalent_atoms
        return Sites(bonds, self.fingerprints, orbits.tolist())

    def _parts(self, bonded: Any, components: list[Any], sites: Sites | None,
               pieces: Pieces) -> tuple[dict[int, dict[str, Any]], list[int]]:
        """Inequivalent components and which of them make up the crystal.

        Molecules stay nameless, as in stock without openbabel; with it, stock would ask a web service.
        """
        parts: dict[int, dict[str, Any]] = {}
        makeup: list[int] = []
        unequal = pieces.first_of(
            "components", lambda: get_structure_inequiv_components(components),
            lambda: get_sym_inequiv_components(components, self._symmetry(bonded.structure, pieces)))
        for number, component in enumerate(unequal):
            parts[number] = {
                "formula": self._formula_of(component, pieces),
                "dimensionality": component["dimensionality"],
                "orientation": component["orientation"],
                "molecule_name": None,
                "sites": [] if sites is None else sites.get_inequivalent_site_indices(component["site_ids"]),
            }
            makeup += [number] * component["count"]
        return parts, makeup

    def _formula_of(self, component: dict[str, Any], pieces: Pieces) -> str:
        return pieces.first_of(
            "formula", lambda: str(get_component_formula(component, use_iupac_formula=self.use_iupac_formula,
                                                         use_common_formulas=self.use_common_formulas)),
            lambda: str(component["structure_graph"].structure.composition.reduced_formula))

    def _layers(self, components: list[Any]) -> dict[str, Any] | None:
        """How layers follow each other. No sentence tells it, but stock stops where not all layers are parallel."""
        unknown = any(component["dimensionality"] == 2 and component["orientation"] is None for component in components)
        if unknown or not components_are_vdw_heterostructure(components):
            return None
        layers: dict[str, Any] = get_vdw_heterostructure_information(
            components, use_iupac_formula=self.use_iupac_formula, use_common_formulas=self.use_common_formulas)
        return layers


def _components(bonds: Bonds, pieces: Pieces) -> list[Any]:
    """Components of the crystal; without orientations, or without molecules, where these cannot be found."""

    def found(orientation: bool, molecules: bool) -> list[Any]:
        components: list[Any] = get_structure_components(
            bonds, inc_orientation=orientation, inc_site_ids=True, inc_molecule_graph=molecules)
        return components if orientation else [component | {"orientation": None} for component in components]

    return pieces.first_of("orientation or molecules", *(
        lambda given=given: found(*given) for given in ((True, True), (False, True), (True, False), (False, False))))


def _summaries(sites: Sites) -> dict[str, Any]:
    return {
        "sites": sites.get_all_site_summaries(),
        "distances": sites.get_all_bond_distance_summaries(),
        "angles": sites.get_all_connectivity_angle_summaries(),
        "nnn_distances": sites.get_all_nnn_distance_summaries(),
    }

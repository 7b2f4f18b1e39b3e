"""What every structure encoder promises, on real crystals."""

from typing import Any

import numpy as np
import pytest
import torch

from features import crystal
from model.input.batch import StructureBatch
from model.nets import encoders
from model.params import TrainParams
from tests.model.nets.batches import atom_by_atom, batch_of

SMALL = {"crystalformer": {"dim": 32, "heads": 4, "layers": 2}, "comformer": {"dim": 32, "layers": 2},
         "cgcnn": {"dim": 24, "layers": 2}, "chgnet": {"dim": 32}}
NAMES = list(encoders.ENCODERS)
# CHGNet itself computes in single precision
TOLERANCE = {"chgnet": 2e-4}
IDS = ["mp-22862", "mp-30", "mp-127", "mp-20928", "mp-149", "mp-2700", "mp-5229", "mp-48"]


def batch_for(name: str, structures: list[Any], dtype: torch.dtype = torch.double) -> StructureBatch:
    return batch_of(structures, dtype, chgnet=name == "chgnet")


def encoder(name: str, batch: StructureBatch, dtype: torch.dtype = torch.double) -> torch.nn.Module:
    torch.manual_seed(0)
    net = encoders.make(TrainParams.model_validate({"encoder": name, name: SMALL[name]})).to(dtype)
    if name != "chgnet":
        torch.nn.init.normal_(net.embedding.weight)  # type: ignore[arg-type, union-attr]
    net.calibrate(batch)  # type: ignore[operator]
    net(batch)  # running statistics, where there are any
    return net.eval()


@pytest.fixture(scope="module")
def canonical(structures: dict[str, Any]) -> list[Any]:
    return [crystal.canonical_structure(structures[i]) for i in IDS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["permutation", "translation", "rotation", "supercell", "cell"])
def test_how_a_crystal_is_written_changes_no_token(name: str, change: str, canonical: list[Any]) -> None:
    from pymatgen.core.operations import SymmOp

    net = encoder(name, batch_for(name, canonical))
    rng = np.random.default_rng(0)
    for structure in canonical:
        other, expected = structure.copy(), net(batch_for(name, [structure])).detach()
        other.add_site_property("atom", list(range(len(other))))
        if change == "permutation":
            other = type(structure).from_sites([other[int(i)] for i in rng.permutation(len(other))])
        elif change == "translation":
            other.translate_sites(range(len(other)), rng.random(3))
        elif change == "rotation":
            other.apply_operation(SymmOp.from_axis_angle_and_translation([1, 2, 3], 40))
        else:
            other.make_supercell([2, 1, 1] if change == "supercell" else [[1, 0, 0], [2, 1, 0], [0, 1, 1]],
                                 to_unit_cell=True)
            other = type(structure).from_sites([other[int(i)] for i in rng.permutation(len(other))])
        tokens = net(batch_for(name, [other])).detach()
        torch.testing.assert_close(tokens, expected[other.site_properties["atom"]], atol=TOLERANCE.get(name, 1e-5),
                                   rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_rests_on_symmetry_but_speed(name: str, canonical: list[Any]) -> None:
    orbits = batch_for(name, canonical)
    net = encoder(name, orbits)
    torch.testing.assert_close(net(orbits), net(atom_by_atom(canonical, chgnet=name == "chgnet")),
                               atol=TOLERANCE.get(name, 1e-5), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_crystal_does_not_see_its_batch(name: str, canonical: list[Any]) -> None:
    net = encoder(name, batch_for(name, canonical))
    together = net(batch_for(name, canonical)).detach()
    alone = torch.cat([net(batch_for(name, [structure])) for structure in canonical]).detach()
    torch.testing.assert_close(together, alone, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_hidden_element_is_not_seen(name: str, structures: dict[str, Any]) -> None:
    salt = crystal.canonical_structure(structures["mp-22862"])
    swapped = salt.copy()
    swapped.replace_species({"Na": "K"})
    if name == "chgnet":
        pytest.skip("its vectors speak of the neighbours' elements, too; only the atom's own is hidden")
    net = encoder(name, batch_for(name, [salt]))
    first = torch.tensor([str(site.specie) == "Na" for site in salt])
    one, other = (net(batch_for(name, [s]), first).detach() for s in (salt, swapped))
    assert torch.equal(one, other)
    assert not torch.equal(net(batch_for(name, [salt])), net(batch_for(name, [swapped])))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(name: str, canonical: list[Any]) -> None:
    batch = batch_for(name, canonical)
    net = encoder(name, batch).train()
    net(batch, batch.numbers == 11).square().sum().backward()
    for weight_name, weight in net.named_parameters():
        assert weight.grad is not None, weight_name
        assert torch.isfinite(weight.grad).all(), weight_name
        assert weight_name.endswith("bias") or weight.grad.abs().sum() > 0, weight_name


@pytest.mark.parametrize("name", NAMES)
def test_one_atom_and_two_hundred(name: str, structures: dict[str, Any]) -> None:
    copper = crystal.canonical_structure(structures["mp-30"])
    many = crystal.canonical_structure(structures["mp-149"]).copy()
    many.make_supercell([5, 5, 4])
    alike = batch_for(name, [many])
    many.perturb(0.2, seed=0)
    unlike = batch_for(name, [many])
    assert (len(copper), len(alike.first), len(unlike.first)) == (1, 1, 200)
    net = encoder(name, batch_for(name, [copper]))
    assert net(batch_for(name, [copper])).shape == (1, SMALL[name]["dim"])
    tokens = net(alike).detach()
    assert float((tokens - tokens[0]).abs().max()) == 0  # all atoms of silicon are alike
    tokens = net(unlike).detach()
    assert torch.isfinite(tokens).all()
    assert float(torch.pdist(tokens).min()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_eight_crystals_can_be_fitted(name: str, canonical: list[Any]) -> None:
    batch = batch_for(name, canonical, torch.float32)
    net = encoder(name, batch, torch.float32).train()
    head = torch.nn.Linear(SMALL[name]["dim"], 1)
    target = torch.linspace(-1, 1, len(canonical))
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], 3e-3)
    loss = torch.tensor(torch.inf)
    for _ in range(250):
        tokens = net(batch)
        pooled = torch.zeros(len(canonical), tokens.shape[1]).index_add(0, batch.crystal, tokens)
        loss = (head(pooled / batch.n_atoms[:, None]).squeeze(-1) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1

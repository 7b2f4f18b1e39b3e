"""The matrix of experiments: `matrix.yaml`, checked, and the cells that it stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from features.errors import UserError
from features.params import Section
from model import blend
from model.params import TrainParams

Kind = Literal["network", "text_trees", "trees", "boosting", "ridge_words"]
OWN: tuple[Kind, ...] = ("network", "text_trees")
"""What a model of this project is made of."""
TextsShown = Literal["own", "anothers", "random", "formula_and_space_group", "document", "facts"]
NO_CONTROL = "none"
OTHERS = "others"
FILE = Path(__file__).with_name("matrix.yaml")


class DataSet(Section):
    """Where crystals come from."""

    targets: list[str] = Field(min_length=1)
    """Names of targets."""
    params: dict[str, dict[str, Any]] | None = None
    """Sections of a `params.yaml` below `data/experiments/NAME/`, over those of the project; none: the project's own
    tables."""
    of: str | None = None
    """Another data set whose tables these are."""
    crystals: int | None = Field(default=None, ge=10)
    """So many of them learn and validate in each fold, drawn by formula; none: all. The test is that of all."""
    arms: list[str] | None = Field(default=None, min_length=1)
    """The arms that are run; none: all. A mixture is left out where an arm of its parts is."""


class Target(Section):
    """How a property is learned; its name is that of the property."""

    transform: Literal["none", "log10"]


class Arm(Section):
    """One way to predict."""

    kind: Kind
    """`network`: this project's. `text_trees`: this project's boosted trees on the text. `trees`: extremely randomised,
    `boosting`: gradient boosting, both on Magpie statistics of the composition, density, volume per atom and the cell.
    `ridge_words`: on tf-idf of words and pairs of words of the description."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Parameters of section `train`, over those of the matrix; of networks. `also: others` stands for all other
    targets of the data set, each with its transform."""
    texts: TextsShown = "own"
    """Which text a crystal gets, unless a control shows another; of networks that read one."""
    facts: bool = False
    """Trees also read the facts of the description."""
    seeds: int | None = Field(default=None, ge=1, le=100)
    """Number of seeds, if it is another than the matrix's."""
    controls: list[str] = Field(default_factory=list)
    """Controls that are run besides the arm itself."""

    @property
    def reads_text(self) -> bool:
        """Whether anything of the description reaches the prediction."""
        if self.kind in OWN:
            return self.train.get("fusion") != "structure_only"
        return self.facts or self.kind == "ridge_words"


class Control(Section):
    """The same arm with something taken from it, trained so and tested so."""

    texts: TextsShown = "own"
    """Which text a crystal gets."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Parameters of section `train`, over those of the arm."""


class Mixture(Section):
    """A mean over networks of several arms, computed from their stored predictions."""

    parts: dict[str, int] = Field(min_length=1)
    """How many networks of each arm."""
    weights: Literal["equal", "learned"] = "equal"
    """`equal`: each network counts the same. `learned`: late fusion, the mean prediction of each part's networks with
    weights that are learned on the validation crystals of the fold."""

    @model_validator(mode="after")
    def _there_are_networks(self) -> Mixture:
        if any(count < 1 for count in self.parts.values()):
            raise ValueError("numbers of networks must be above 0")
        if self.weights == "learned" and not 2 <= len(self.parts) <= blend.MOST:
            raise ValueError(f"weights are learned for 2 to {blend.MOST} parts")
        return self


class Matrix(Section):
    """All of `matrix.yaml`."""

    folds: int = Field(ge=2)
    seeds: int = Field(ge=1, le=100)
    validation: float = Field(gt=0, lt=1)
    """Share of the groups of the training folds that early stopping, and the choice of a penalty, look at."""
    bootstrap: int = Field(ge=100)
    confidence: float = Field(gt=0.5, lt=1)
    reference: str
    """The arm that the others are compared with."""
    headline: str
    """The arm or mixture that the README reports."""
    train: dict[str, Any]
    """Parameters of section `train` of every network; what is absent is the default of the code, not that of
    `params.yaml`."""
    datasets: dict[str, DataSet]
    targets: dict[str, Target]
    arms: dict[str, Arm]
    controls: dict[str, Control] = Field(default_factory=dict)
    mixtures: dict[str, Mixture] = Field(default_factory=dict)
    """Means over networks of several arms."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Matrix:
        _known("reference", [self.reference], self.arms)
        _known("headline", [self.headline], self.arms | self.mixtures)
        for name, dataset in self.datasets.items():
            _known(f"datasets.{name}.of", [dataset.of] if dataset.of else [], self.datasets)
            if dataset.of and (dataset.params is not None or self.datasets[dataset.of].of):
                raise ValueError(f"datasets.{name}: with `of` it has no params, and its tables are another's own")
            _known(f"datasets.{name}.targets", dataset.targets, self.targets)
            _known(f"datasets.{name}.arms", dataset.arms or [], self.arms)
        for name, arm in self.arms.items():
            _known(f"arms.{name}.controls", arm.controls, self.controls)
            if arm.texts != "own" and not (arm.kind in OWN and arm.reads_text):
                raise ValueError(f"arms.{name}.texts is one of networks that read a text")
            if arm.texts != "own" and any(self.controls[one].texts != "own" for one in arm.controls):
                raise ValueError(f"arms.{name}: with texts of its own, its controls cannot show others")
            if arm.controls and not arm.reads_text:
                raise ValueError(f"arms.{name} reads no text and so has no controls")
            for control in arm.controls:
                if arm.kind not in OWN and (self.controls[control].texts in ("random", "document", "facts")
                                              or self.controls[control].train):
                    raise ValueError(f"arms.{name}.controls: {control} is one of networks, {name} is none")
                if arm.kind in ("trees", "boosting") and self.controls[control].texts == "formula_and_space_group":
                    raise ValueError(f"arms.{name}.controls: a formula and a space group hold no facts for trees")
        for name, mixture in self.mixtures.items():
            _known(f"mixtures.{name}.parts", list(mixture.parts), self.arms)
            if name in self.arms:
                raise ValueError(f"mixtures.{name} must have a name of its own")
        for name, dataset in self.datasets.items():
            joint = [arm for arm, one in self.arms_of(name).items() if one.train.get("also") == OTHERS]
            if joint and len(dataset.targets) == 1:
                raise ValueError(f"arms.{joint[0]}.train.also: the data set {name} has one target and no {OTHERS}; "
                                 f"leave the arm out of datasets.{name}.arms")
        if NO_CONTROL in self.controls:
            raise ValueError(f"controls.{NO_CONTROL} is the name of no control")
        odd = [name for names in (self.datasets, self.targets, self.arms, self.controls, self.mixtures)
               for name in names if not name.replace("_", "").isalnum()]
        if odd:
            raise ValueError(f"{odd[0]}: names have letters, digits and _ only, since they stand in names of files")
        return self

    def arms_of(self, dataset: str) -> dict[str, Arm]:
        """The arms that are run on a data set, in the order of the matrix."""
        asked = self.datasets[dataset].arms
        return {name: arm for name, arm in self.arms.items() if asked is None or name in asked}

    def mixtures_of(self, dataset: str) -> dict[str, Mixture]:
        """The mixtures whose parts are all run on a data set."""
        arms = self.arms_of(dataset)
        return {name: mixture for name, mixture in self.mixtures.items() if arms.keys() >= mixture.parts.keys()}

    def seeds_of(self, arm: str) -> int:
        """How many networks (or fits) of an arm there are in each fold."""
        own = self.arms[arm].seeds
        return self.seeds if own is None else own

    def train_params(self, cell: Cell) -> TrainParams:
        """Section `train` of a network's cell. Raises `UserError` where the matrix asks for what there is not."""
        asked = _over(self.train, self.arms[cell.arm].train, self.control(cell.control).train)
        if asked.get("also") == OTHERS:
            asked["also"] = {name: self.targets[name].transform for name in self.datasets[cell.dataset].targets
                             if name != cell.target}
        given = {"target": cell.target, "transform": self.targets[cell.target].transform, "seed": cell.seed}
        try:
            return TrainParams.model_validate(_over(asked, given))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["train", *(str(part) for part in first["loc"])])
            raise UserError(f"matrix: arm {cell.arm}, control {cell.control}: {where}: "
                            f"{first['msg'].removeprefix('Value error, ')}") from None

    def control(self, name: str) -> Control:
        """The control of that name; `none` changes nothing."""
        return Control() if name == NO_CONTROL and name not in self.controls else self.controls[name]

    def seen_by(self, arm: str) -> Matrix:
        """What a cell is run by: the matrix whose controls show the arm's `texts` where they leave the text alone."""
        texts = self.arms[arm].texts
        controls = {name: control.model_copy(update={"texts": texts}) if control.texts == "own" else control
                    for name, control in {NO_CONTROL: Control(), **self.controls}.items()}
        return self.model_copy(update={"controls": controls})


def _over(*layers: dict[str, Any]) -> dict[str, Any]:
    """Parameters, the later over the earlier, sections key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = _over(result[name], value) if both else value
    return result


@dataclass(frozen=True)
class Cell:
    """One run."""

    dataset: str
    target: str
    arm: str
    control: str
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.target} {self.arm} {self.control} seed {self.seed} fold {self.fold}"


def read(path: Path = FILE) -> Matrix:
    """Read and check a matrix file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Matrix.model_validate(content)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}." for part in first["loc"])[:-1]
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {said}" if where else f"{path}: {said}") from None


def cells(matrix: Matrix, only: Sequence[str] = ()) -> list[Cell]:
    """All cells, or those that `only` names, breadth first: every arm has its first fold before one has its second,
    and all folds of the first seed come before those of the second; controls follow the arms."""
    chosen = _selection(only)
    everything = [cell for cell in _all(matrix) if all(str(asdict(cell)[name]) in values
                                                       for name, values in chosen.items())]
    if chosen and not everything:
        raise UserError(f"--only {','.join(only)}: the matrix has no such cell; it has the data sets "
                        f"{', '.join(matrix.datasets)}, the targets {', '.join(matrix.targets)}, the arms "
                        f"{', '.join(matrix.arms)} and the controls {', '.join([NO_CONTROL, *matrix.controls])}")
    order = {name: place for names in (matrix.datasets, matrix.targets, matrix.arms, [NO_CONTROL, *matrix.controls])
             for place, name in enumerate(names)}
    return sorted(everything, key=lambda c: (c.seed, c.fold, c.control != NO_CONTROL, order[c.dataset], order[c.arm],
                                             order[c.control], order[c.target]))


def _all(matrix: Matrix) -> Iterator[Cell]:
    for dataset, described in matrix.datasets.items():
        for target in described.targets:
            for arm, one in matrix.arms_of(dataset).items():
                for control in (NO_CONTROL, *one.controls):
                    for seed in range(matrix.seeds_of(arm)):
                        for fold in range(matrix.folds):
                            yield Cell(dataset, target, arm, control, seed, fold)


def _selection(only: Sequence[str]) -> dict[str, set[str]]:
    """From `arm=a`, `arm=b`, `seed=0` to the values asked for under each name."""
    result: dict[str, set[str]] = {}
    for one in (part for text in only for part in text.split(",") if part):
        name, _, value = one.partition("=")
        if name not in Cell.__dataclass_fields__ or not value:
            raise UserError(f"--only {one}: write NAME=VALUE with one of {', '.join(Cell.__dataclass_fields__)}")
        result.setdefault(name, set()).add(value)
    return result


def _known(where: str, names: Sequence[str], there: Sequence[str] | dict[str, Any]) -> None:
    for name in names:
        if name not in there:
            close = difflib.get_close_matches(name, list(there), n=1)
            raise ValueError(f"{where}: there is no '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))

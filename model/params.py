"""Sections `train`, `evaluate` and `explain` of `params.yaml`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from features.params import LARGEST_SEED, LONGEST_S, RUNTIME, Section

Kind = Literal["fused", "structure", "text"]
KINDS: tuple[Kind, ...] = ("fused", "structure", "text")
"""Of branches, and of the networks of a model."""
MemberKind = Literal["fused", "structure", "text", "trees"]
MEMBERS: tuple[MemberKind, ...] = (*KINDS, "trees")
"""Of what a model is the weighted mean of."""
READERS: tuple[MemberKind, ...] = ("text", "trees")
"""Members that read the text alone."""
EncoderName = Literal["crystalformer", "comformer", "cgcnn", "chgnet"]
FusionName = Literal["sum", "concat", "gated", "film", "cross_attention", "structure_only", "text_only"]


class CrystalformerParams(Section):
    """Section `train.crystalformer`: size of the structure encoder. The paper has 128, 8 heads, 4 layers."""

    dim: int = Field(default=128, ge=8, le=1024)
    """Width of an atom's token."""
    heads: int = Field(default=8, ge=1, le=64)
    """Attention heads."""
    layers: int = Field(default=4, ge=1, le=24)
    """Blocks of attention and feed-forward."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> CrystalformerParams:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class CgcnnParams(Section):
    """Section `train.cgcnn`: size of the structure encoder. The paper has 64, 3 layers, 12 neighbours."""

    dim: int = Field(default=64, ge=8, le=1024)
    """Width of an atom's token."""
    layers: int = Field(default=3, ge=1, le=24)
    """Convolutions."""
    neighbours: int = Field(default=12, ge=1, le=64)
    """Nearest images that an atom hears from."""


class ComformerParams(Section):
    """Section `train.comformer`: size of the structure encoder. The paper has 256, 4 layers, 25 neighbours."""

    dim: int = Field(default=128, ge=8, le=1024)
    """Width of an atom's token."""
    layers: int = Field(default=4, ge=1, le=24)
    """Layers of attention over neighbours; the edges are updated by their angles after the first."""
    neighbours: int = Field(default=25, ge=1, le=64)
    """Nearest images that an atom hears from."""


class ChgnetEncoderParams(Section):
    """Section `train.chgnet`: size of the net on the frozen vectors of the table `chgnet_atoms`."""

    dim: int = Field(default=128, ge=8, le=1024)
    """Width of an atom's token."""


class WordsParams(Section):
    """Section `train.words`: size of the text branch that learns from the words."""

    dim: int = Field(default=64, ge=8, le=1024)
    """Width of a word's token."""
    heads: int = Field(default=8, ge=1, le=64)
    """Heads that pool the tokens of a sentence, and of the attention between sentences."""
    within: int = Field(default=1, ge=0, le=8)
    """Layers in which tokens hear from their sentence."""
    across: int = Field(default=1, ge=0, le=8)
    """Layers in which sentences hear from each other."""
    numbers: bool = True
    """Whether the numbers of the tokens are read; without, a length is only known to be one."""
    most: int | None = Field(default=None, ge=1, le=100_000)
    """So many tokens of a text are read, from its beginning; null: all."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> WordsParams:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        return self


class CrossAttentionParams(Section):
    """Section `train.cross_attention`: the fusion of that name, whose heads are `crystalformer.heads`."""

    layers: int = Field(default=1, ge=1, le=12)
    """Layers in which the atoms ask the text."""
    directions: Literal["atoms_ask", "both"] = "atoms_ask"
    """Who asks: the atoms, or between their layers the text's tokens, too."""

    @model_validator(mode="after")
    def _there_is_a_between(self) -> CrossAttentionParams:
        if self.directions == "both" and self.layers == 1:
            raise ValueError("directions both needs layers of at least 2: the text asks between the atoms' layers")
        return self


class LossWeights(Section):
    """Section `train.loss`: weights in the joint loss."""

    fused: float = Field(default=1.0, ge=0, le=1e6)
    """The fused branch."""
    structure: float = Field(default=0.5, ge=0, le=1e6)
    """The structure-only branch."""
    text: float = Field(default=0.5, ge=0, le=1e6)
    """The text-only branch."""
    also: float = Field(default=1.0, ge=0, le=1e6)
    """The targets of `train.also` together. The loss of a branch is its mean absolute error of the target plus, for
    each of the n further targets, also/n times its mean absolute error over the crystals of the step that have it; each
    target is counted in standard deviations of its training crystals."""
    contrast: float = Field(default=0.0, ge=0, le=1e6)
    """Of a term that brings the pooled tokens of the structure and of the text of each crystal near each other and
    those of different crystals apart: the symmetric InfoNCE of CLIP (Radford et al. 2021; formula in
    `model/nets/contrast.py`) over the crystals of a batch that have both, with what `masking` drops left out. Of
    networks that read both views; 0 builds nothing."""

    @model_validator(mode="after")
    def _something_is_learned(self) -> LossWeights:
        if self.fused == 0:
            raise ValueError("fused must be above 0: it is the branch that predicts")
        return self


class Masking(Section):
    """Section `train.masking`: what is hidden while training, drawn afresh for each sample and step."""

    atoms: float = Field(default=0.05, ge=0, lt=1)
    """Probability that an atom's element is hidden."""
    sentences: float = Field(default=0.1, ge=0, lt=1)
    """Probability that a sentence is hidden; one always stays."""
    drop_structure: float = Field(default=0.1, ge=0, lt=1)
    """Probability that the fused branch gets no structure."""
    drop_text: float = Field(default=0.1, ge=0, lt=1)
    """Probability that the fused branch gets no text."""

    @model_validator(mode="after")
    def _one_modality_stays(self) -> Masking:
        if self.drop_structure + self.drop_text >= 1:
            raise ValueError("drop_structure and drop_text together must be below 1: one modality always stays")
        return self


class Members(Section):
    """Section `train.members`: how many networks, and trees, the model is the weighted mean of, each trained alone with
    a seed of its own. Those of the structure and those of the text together are late fusion."""

    fused: int = Field(default=1, ge=0, le=100)
    """Networks of structure and text together, as `train.fusion` says."""
    structure: int = Field(default=0, ge=0, le=100)
    """Networks of the structure alone."""
    text: int = Field(default=0, ge=0, le=100)
    """Networks of the text alone."""
    trees: int = Field(default=0, ge=0, le=100)
    """Boosted trees on statistics of the text's words and numbers (`train.trees`); `train.text` must be words."""

    @model_validator(mode="after")
    def _somebody_predicts(self) -> Members:
        if self.fused + self.structure + self.text == 0:
            raise ValueError("there must be one network at least")
        return self

    @property
    def readers(self) -> int:
        """Members that read the text alone."""
        return self.text + self.trees


class TreesParams(Section):
    """Section `train.trees`: gradient boosting (`model/training/trees.py`)."""

    trees: int = Field(default=500, ge=1, le=10_000)
    """Regression trees, at most; the validation crystals choose how many, and the loss."""
    depth: int = Field(default=4, ge=1, le=10)
    """Of a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """What a tree adds of what it has learned."""
    subsample: float = Field(default=0.5, gt=0, le=1)
    """Share of the training crystals that a tree sees."""
    features: float = Field(default=0.3, gt=0, le=1)
    """Share of the statistics that a node of a tree may ask for."""
    leaf: int = Field(default=5, ge=1, le=1_000_000)
    """Training crystals of a leaf, at least."""


class LoaderParams(Section):
    """Section `train.loader`: how batches are made."""

    window: int = Field(default=16384, ge=1, le=10_000_000)
    """Crystals in memory at once (twice as many while the next are read); they are shuffled among themselves."""
    bucket: int = Field(default=1, ge=1, le=10_000)
    """Batches whose crystals are sorted together by number of edges, for less padding on a GPU; 1 sorts none."""
    workers: int = Field(default=1, ge=1, le=64)
    """Threads that make batches ahead."""


class TrainParams(Section):
    """Section `train`."""

    target: str = "k_vrh"
    """Property to learn: a numeric column of `materials`, or a key of its `other_properties`."""
    transform: Literal["none", "log10"] = "log10"
    """What is learned: the value or its decimal logarithm."""
    also: dict[str, Literal["none", "log10"]] = Field(default={})
    """Further targets that every branch learns together with the target, name → transform, such as `{g_vrh: log10}`.
    Nothing is predicted of them. A training crystal needs any one of the targets; validation, test, early stopping and
    metrics know the first alone. With `ingest.dataset: union` this is pretraining across data sets: no formula that is
    validated or tested trains, by whatever label (`split.group_by`)."""
    encoder: EncoderName = "crystalformer"
    """Structure encoder."""
    elements: Literal["learned", "properties"] = "learned"
    """What a structure encoder is told of an element: a vector learned from the training crystals alone, or with it 22
    tabulated properties (`model/nets/element_properties.py`). The encoder `chgnet` has vectors of its own."""
    fusion: FusionName = "cross_attention"
    """How structure and text come together."""
    cross_attention: CrossAttentionParams = CrossAttentionParams()
    """Layers of the fusion of that name."""
    members: Members = Members()
    """The networks of the model."""
    crystalformer: CrystalformerParams = CrystalformerParams()
    """Size of the encoder of that name."""
    comformer: ComformerParams = ComformerParams()
    """Size of the encoder of that name."""
    cgcnn: CgcnnParams = CgcnnParams()
    """Size of the encoder of that name."""
    chgnet: ChgnetEncoderParams = ChgnetEncoderParams()
    """Size of the encoder of that name, which needs `chgnet.model`."""
    text: Literal["sentences", "words"] = "sentences"
    """What is read of a text: vectors of its sentences from the frozen encoder (table `text_embeddings`), or its words
    and numbers (table `text_tokens`), whose meaning is then learned from the training crystals alone."""
    words: WordsParams = WordsParams()
    """Size of the text branch of that name."""
    trees: TreesParams = TreesParams()
    """Size of the members of that name."""
    loss: LossWeights = LossWeights()
    """Weights of the branches."""
    gradients: Literal["joint", "apart"] = "joint"
    """Whether the structure encoder learns from the losses of all branches, or from that of the structure branch alone:
    the fused branch then takes the atoms' tokens as they are."""
    masking: Masking = Masking()
    """What is hidden while training."""
    epochs: int = Field(default=80, ge=1, le=100_000)
    """Passes over the training crystals, at most."""
    patience: int = Field(default=20, ge=1, le=100_000)
    """Stop after this many epochs without a lower validation error."""
    batch_size: int = Field(default=16, ge=1, le=100_000)
    """Crystals a step."""
    learning_rate: float = Field(default=5e-4, gt=0, le=100)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=50, ge=0, le=10**9)
    """Steps in which the rate rises to `learning_rate`; then it falls as √(decay/(decay + step))."""
    decay_steps: int = Field(default=4000, ge=1, le=10**9)
    """The `decay` of the schedule."""
    schedule: Literal["inverse_sqrt", "one_cycle"] = "inverse_sqrt"
    """Schedule of the learning rate: as above, or one cycle over all epochs (Smith & Topin 2018) that rises to
    `learning_rate` and falls to nearly zero."""
    accumulate: int = Field(default=1, ge=1, le=10_000)
    """Batches whose gradients are summed for one step, as if the batch were this many times larger."""
    average: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a running mean of the weights, such as 0.99, which is validated and saved in their place; 0: none."""
    weight_decay: float = Field(default=1e-2, ge=0, le=100)
    """Weight decay of AdamW; biases and other vectors do not decay."""
    gradient_norm: float = Field(default=1.0, gt=0, le=1e9)
    """Gradients are clipped to this norm."""
    paraphrases: bool = True
    """Train on a random variant of each text; without, on the description alone."""
    loader: LoaderParams = LoaderParams()
    """How batches are made."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of matrix products while training; weights and sums are float32."""
    save_every_s: float = Field(default=300.0, ge=0, le=LONGEST_S, json_schema_extra={**RUNTIME})
    """Seconds between the states from which a killed run goes on, besides one after every epoch."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of initialisation, order and masking."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={**RUNTIME})
    """auto, cpu or cuda."""

    def networks(self) -> list[tuple[Kind, TrainParams]]:
        """The networks of the model: what each is for, and the section `train` that trains it alone."""
        alone = {"loss": LossWeights(fused=1.0, structure=0.0, text=0.0, also=self.loss.also),
                 "masking": self.masking.model_copy(update={"drop_structure": 0.0, "drop_text": 0.0}),
                 "gradients": "joint"}
        sections: dict[Kind, dict[str, Any]] = {"fused": {}, "structure": {"fusion": "structure_only", **alone},
                                                "text": {"fusion": "text_only", **alone}}
        return [(kind, self.model_copy(update={**sections[kind], "members": Members(), "seed": self.seed + number}))
                for kind in KINDS for number in range(getattr(self.members, kind))]

    @property
    def with_text(self) -> bool:
        """Whether any branch that learns reads the text."""
        mine = self.members.fused > 0 and (self.fusion != "structure_only" or self.loss.text > 0)
        return mine or self.members.readers > 0

    @property
    def reads_text(self) -> bool:
        """Whether what the model predicts depends on the text."""
        return (self.members.fused > 0 and self.fusion != "structure_only") or self.members.readers > 0

    @property
    def with_structure(self) -> bool:
        """Whether any branch that learns looks at the structure."""
        mine = self.members.fused > 0 and (self.fusion != "text_only" or self.loss.structure > 0)
        return mine or self.members.structure > 0

    @property
    def fuses_both(self) -> bool:
        """Whether the fused branch reads structure and text."""
        return self.fusion not in ("structure_only", "text_only")

    @property
    def without_text(self) -> Literal["fused", "structure"] | None:
        """Which branch predicts for a crystal without text; None: no branch has learned to.

        With `masking.drop_text` 0 the fused branch has never seen a crystal without, and what stands in the text's
        place is where it began. A fused branch of text alone has nothing to go by, and networks of the structure alone
        miss no text.
        """
        if self.members.structure > 0:
            return "structure"
        if self.members.fused == 0:
            return None
        if self.fusion == "structure_only" or (self.fuses_both and self.masking.drop_text > 0):
            return "fused"
        return "structure" if self.learns("structure") else None

    @property
    def without_structure(self) -> Literal["fused", "text"] | None:
        """The same for a crystal of whose structure nothing is shown, as explanations ask."""
        if self.members.readers > 0:
            return "text"
        if self.members.fused == 0:
            return None
        if self.fusion == "text_only" or (self.fuses_both and self.masking.drop_structure > 0):
            return "fused"
        return "text" if self.learns("text") else None

    def learns(self, branch: Kind) -> bool:
        """Whether a branch has a weight in the loss, or networks of its own; what another one predicts means nothing.

        What the model as a whole predicts is called fused.
        """
        own: int = self.members.readers if branch == "text" else getattr(self.members, branch)
        weight: float = getattr(self.loss, branch)
        return branch == "fused" or own > 0 or (self.members.fused > 0 and weight > 0)

    @field_validator("also")
    @classmethod
    def _in_one_order(cls, also: dict[str, str]) -> dict[str, str]:
        return dict(sorted(also.items()))  # a model's file and a run's state keep none

    @model_validator(mode="after")
    def _the_further_targets_are_others(self) -> TrainParams:
        if self.target in self.also:
            raise ValueError(f"also names {self.target}, which is the target itself")
        return self

    @model_validator(mode="after")
    def _two_views_to_contrast(self) -> TrainParams:
        if self.loss.contrast > 0 and not (self.fuses_both and self.members.fused > 0):
            raise ValueError("loss.contrast above 0 needs networks that read structure and text: members.fused above "
                             "0 and a fusion of both")
        return self

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> TrainParams:
        dim = getattr(self, self.encoder).dim
        if self.fusion == "cross_attention" and dim % self.crystalformer.heads:
            raise ValueError(f"cross-attention has crystalformer.heads = {self.crystalformer.heads} heads, and "
                             f"{self.encoder}.dim = {dim} is no multiple of it")
        return self

    @model_validator(mode="after")
    def _trees_read_words(self) -> TrainParams:
        if self.members.trees and self.text != "words":
            raise ValueError("members.trees read words and numbers: set text to words")
        return self

    @model_validator(mode="after")
    def _apart_there_is_something_to_learn(self) -> TrainParams:
        if self.gradients == "apart" and self.fusion == "structure_only":
            raise ValueError("gradients apart would leave fusion structure_only an encoder that its loss cannot reach")
        if self.gradients == "apart" and self.loss.structure == 0:
            raise ValueError("gradients apart needs loss.structure above 0: the structure encoder learns from it alone")
        return self


class EvaluateParams(Section):
    """Section `evaluate`."""

    bootstrap: int = Field(default=2000, ge=100, le=100_000)
    """Resamples of the test crystals behind each interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""
    shuffles: int = Field(default=5, ge=1, le=1000)
    """Rounds of the control in which every crystal gets another one's text."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Of resamples and shuffles."""


class ExplainParams(Section):
    """Section `explain`."""

    crystals: int = Field(default=6, ge=1, le=200)
    """Number of test crystals explained, each with a card of its own."""
    tested: int = Field(default=16, ge=0, le=1000)
    """Test crystals on which the methods are tested."""
    aggregated: int = Field(default=120, ge=0, le=1_000_000)
    """Test crystals over which effects of facts are averaged."""

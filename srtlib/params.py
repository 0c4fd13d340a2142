"""Every parameter of a model, of its training and of an experiment's size.

Unknown keys and wrong types are refused with one line that names them.
"""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    PositiveInt,
    ValidationError,
    model_validator,
)

from srtlib.paths import project_root
from srtlib.protocols import Cuts, parse_cuts, parse_protocol

SIZES = ("S", "M", "L", "XL")
TEXT_FIELDS = ("title", "brand", "categories")  # of an item


class Params(BaseModel):
    """Base of all parameters: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, values: Any) -> Any:
        """True is no number, though Python takes it for one."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            parts = value if isinstance(value, list) else [value]
            if field and field.annotation is not bool and any(isinstance(part, bool) for part in parts):
                raise ValueError(f"{name}: true and false are none of its values, got {value!r}")
        return values

    def identity(self) -> dict[str, Any]:
        """The parameters that tell a run from others: a `later_field` only where it is not at its default."""
        fields = type(self).model_fields
        silent = {n for n, field in fields.items() if field.json_schema_extra == LATER and _at_default(self, n)}
        return self.model_dump(exclude=silent)


LATER: dict[str, Any] = {"later": True}


def later_field(default: Any, **given: Any) -> Any:
    """A parameter that came after runs were recorded: at its default these keep their identity.

    Args:
        default: of the parameter.
        given: more of pydantic's `Field`, such as bounds.
    """
    return Field(default, json_schema_extra=LATER, **given)


def _at_default(params: Params, name: str) -> bool:
    return getattr(params, name) == type(params).model_fields[name].default


class ModelParams(Params):
    """Architecture of an SRT model (section 3 of the paper; defaults are the `srtlib` recipe's).

    >>> ModelParams(d_model=64, n_heads=2).d_ff
    256
    """

    d_model: PositiveInt = 64
    n_layers: PositiveInt = 2
    n_heads: PositiveInt = 1
    d_ff: int = Field(default=0, ge=0, description="inner width; 0 stands for 4 d_model")
    max_len: PositiveInt = 50
    dropout: float = Field(default=0.2, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    norm: Literal["pre", "post"] = "pre"
    norm_eps: float = Field(default=1e-12, gt=0, allow_inf_nan=False)
    encoder: str = Field(default="token_bag", description="a key of srtlib.model.encoders.ENCODERS")
    fields: dict[str, PositiveInt] = Field(
        default={"title": 40, "brand": 8}, description="text field -> most tokens kept (token_bag)"
    )
    vocab_size: int = Field(default=30_000, ge=100, le=30_000)
    vector_dim: int = Field(default=0, ge=0, description="width of the vectors (fixed_vectors, sentence, hybrid)")
    n_items: int = Field(default=0, ge=0, description="size of the one catalogue that it knows (item_ids, hybrid_ids)")
    feed_forward: Literal["gelu", "swiglu"] = later_field(
        "gelu", description="swiglu: gated, with half as many weights more"
    )
    qk_norm: bool = later_field(False, description="normalise queries and keys, head by head")
    temperature: float = later_field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="scores are cosines over this, in place of dot products; 0: dot products",
    )
    positions: Literal["absolute", "rotary"] = later_field(
        "absolute", description="a learnt vector for each place, or queries and keys turned by their place"
    )
    residual_scale: bool = later_field(False, description="what layers add starts 1 / sqrt(2 n_layers) times as large")
    words_first: bool = later_field(False, description="text is split into words before it is normalised (token_bag)")
    initialisation: Literal["xavier", "normal02"] = later_field(
        "xavier", description="weights of linear layers start so; normal02: Normal(0, 0.02), as tables always do"
    )

    text_model: str = later_field(
        "", description="what makes the vectors, of text: a folder, or a name on the hub; none: they are given"
    )
    whiten_dim: int = later_field(
        0, ge=0, description="decorrelate the items' vectors to so many numbers; 0: take them as they are"
    )
    head: Literal["linear", "mlp", "residual"] = later_field(
        "linear",
        description="from the items' vectors to d_model numbers; residual: the first d_model, and what an MLP adds",
    )
    words_dropout: float = later_field(0.0, ge=0, lt=1, description="of what words, and ids, add to a vector (hybrid)")
    start: Literal["random", "neighbours"] = later_field(
        "random", description="neighbours: layers, positions, words and MLP add nothing before training"
    )
    neighbours: bool = later_field(False, description="scores add neighbours by vectors, weighed after training")

    @model_validator(mode="before")
    @classmethod
    def _fill_d_ff(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(values, dict) and not values.get("d_ff"):
            d_model = values.get("d_model", cls.model_fields["d_model"].default)
            if isinstance(d_model, int):
                values = {**values, "d_ff": 4 * d_model}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} must divide d_model={self.d_model}")
        if self.positions == "rotary" and self.d_model // self.n_heads % 2:
            raise ValueError("positions=rotary turns pairs of numbers: d_model / n_heads must be even")
        if self.neighbours and not self.vector_dim:
            raise ValueError("neighbours=true needs vector_dim: with text_model, the width of what it makes")
        if self.whiten_dim > self.vector_dim:
            raise ValueError(f"whiten_dim={self.whiten_dim} must not be more than vector_dim={self.vector_dim}")
        if self.head == "residual" and self.d_model > (width := self.whiten_dim or self.vector_dim):
            raise ValueError(f"head=residual passes {width} numbers on: d_model={self.d_model} must not be more")
        if unknown := [name for name in self.fields if name not in TEXT_FIELDS]:
            raise ValueError(f"fields: {unknown[0]} is no text field; expected some of {', '.join(TEXT_FIELDS)}")
        return self


def _whole(number: float) -> float:
    """20.0 as 20: the same number of epochs is the same run."""
    return int(number) if number == int(number) else number


class TrainParams(Params):
    """Objective, optimiser and schedule. `batch_size` counts training targets: with every position supervised
    it is the batch's token budget, with supervise=last the number of samples; `auto` is the largest that fits in GPU
    memory (on a CPU the recipe's own)."""

    objective: str = Field(default="sampled_softmax", description="a key of srtlib.training.losses.OBJECTIVES")
    supervise: Literal["all", "last"] = "all"
    negatives: str = Field(default="popularity", description="a key of srtlib.training.losses.NEGATIVES")
    n_negatives: PositiveInt = 1000
    shared_negatives: bool = True
    logq_on_positive: bool = Field(default=False, description="subtract log q from the positive's score too")
    batch_size: PositiveInt | Literal["auto"] = 4096
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_whole)] = 20  # the last may be a part
    optimizer: Literal["adam", "adamw", "muon"] = Field(
        default="adamw", description="muon: Muon for the matrices of the layers, AdamW for all else"
    )
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    schedule: Literal["linear", "one_cycle"] = "linear"
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps before the peak")
    clip_norm: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="largest norm of the gradient; 0: never clip"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(default=False, description="torch.compile the transformer; the run stays the same run")
    eval_every: PositiveInt = Field(default=1, description="epochs between validations")
    patience: int = Field(default=0, ge=0, description="validations without a new best before stopping; 0: never stop")
    protocol: Annotated[str, AfterValidator(lambda text: parse_protocol(text) and text)] = "full"
    average: float = later_field(
        0.0, ge=0, lt=1, description="decay of a running mean of the weights, which is judged and kept; 0: no mean"
    )
    uniform_share: float = later_field(0.0, ge=0, le=1, description="share of the negatives that are drawn uniformly")
    in_batch: bool = later_field(False, description="a batch's other sequences' targets are negatives too")
    select_by: str = later_field(
        "ndcg@5", pattern=r"^(ndcg|hr|mrr)@(5|10)$", description="the best checkpoint has the highest on validation"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.compile and self.supervise == "last":
            raise ValueError("compile=true needs batches of one shape: supervise=all")
        if self.in_batch and not self.shared_negatives:
            raise ValueError("in_batch=true gives all targets of a batch the same negatives: shared_negatives=true")
        return self


class Recipe(Params):
    """A named pair of complete parameters."""

    name: str
    version: PositiveInt = Field(default=1, description="of what the name stands for, recorded in each run")
    model: ModelParams
    train: TrainParams


class Architecture(Params):
    """One model of a grid."""

    d_model: PositiveInt
    n_layers: PositiveInt = 1
    n_heads: int = Field(default=0, ge=0, description="0 leaves the choice to the recipe")


def _cuts(given: object) -> Cuts | None:
    return given if given is None or isinstance(given, Cuts) else parse_cuts(given)


class Grid(Params):
    """Nested samples of users x models x variations of the recipe x seeds."""

    interactions: list[PositiveInt] = Field(min_length=1, description="sizes of the nested samples")
    models: list[Architecture] = Field(min_length=1)
    recipe: Literal["paper", "srtlib"] = "srtlib"
    train: dict[str, Any] = Field(default={}, description="settings that differ from the recipe's in all runs")
    variations: dict[str, dict[str, Any]] = Field(
        default={"": {}}, min_length=1, description="name -> settings that differ further; each on the whole grid"
    )
    cuts: Annotated[Cuts | None, PlainValidator(_cuts)] = Field(
        default=None,
        description="of a split by time: two shares of the interactions, or two dates; none: leave-one-out",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[], description="of training; none: the study's own")
    flops: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default=[], description="training FLOPs that every run is planned to end at, one run for each (isoFLOP)"
    )


class Scaling(Grid):
    """A scaling study: a grid whose runs are all judged on the same users and catalogue."""

    panel_users: PositiveInt = Field(description="users that every run is evaluated on, at most")


class FineTuning(Params):
    """Options of the methods of `srtlib.studies.fine_tuning`."""

    own_vocabulary: bool = Field(default=False, description="give the model a tokenizer of the target's text first")
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="rate's factor from a block to the one below")
    epochs_per_layer: PositiveInt = Field(default=2, description="progressive: epochs before the next block joins")
    ewc_lambda: float = Field(default=100.0, ge=0, description="ewc: weight of the penalty")
    fisher_examples: PositiveInt = Field(default=1000, description="ewc: examples behind the Fisher information")


class Transfer(Params):
    """A study of transfer; settings are TrainParams that differ from the recipe's."""

    models: list[Architecture] = Field(min_length=1, description="the first is the study's; the curve has them all")
    target_interactions: PositiveInt | None = Field(default=None, description="sample of the target (default: all)")
    seeds: PositiveInt = 1
    pretrain: dict[str, Any] = Field(default={}, description="settings of training on the source")
    pretrain_panel: PositiveInt = Field(default=2000, description="source users that pre-training is judged on")
    train: dict[str, Any] = Field(default={}, description="settings of all training on the target")
    fine_tune: dict[str, Any] = Field(default={}, description="further settings where that starts pre-trained")
    on_shares: dict[str, Any] = Field(default={}, description="further settings on a share of the target's users")
    options: FineTuning = FineTuning()
    sasrec: list[dict[str, Any]] = Field(default=[{}], min_length=1, description="grid of model and training settings")
    source_interactions: list[PositiveInt] = Field(default=[], description="samples of the source, besides all of it")
    shares: list[float] = Field(default=[1.0], description="shares of the target's users")
    cold_share: float = Field(default=0.1, gt=0, lt=1, description="share of the items taken out of training")


class PublishedRuns(Params):
    """The authors' recorded runs: nothing is trained, only the intervals cost time."""

    n_resamples: int = Field(default=1000, ge=2, description="bootstrap resamples behind an interval")


class DataStudy(Params):
    """What the data notebook prepares and describes."""

    users: PositiveInt = Field(default=30_000, description="users of the made raw files")
    samples: list[PositiveInt] = Field(
        default=[1_000, 3_000, 10_000, 30_000], min_length=1, description="interactions of the nested samples"
    )


class SizeParams(Params):
    """What a size stands for: one section per notebook."""

    scaling: Scaling
    grids: dict[str, Grid] = Field(default={}, description="further grids, by name, judged as `scaling` is")
    transfer: Transfer = Transfer(models=[Architecture(d_model=64)])
    published_runs: PublishedRuns = PublishedRuns()
    data: DataStudy = DataStudy()


P = TypeVar("P", bound=Params)


def parse(model: type[P], values: object, source: str) -> P:
    """Parameters from values that are to be validated.

    Args:
        model: their class.
        values: a mapping of their names to values.
        source: where the values come from, named in errors.

    Raises ValueError, every complaint in one line that names the key.

    >>> parse(Architecture, {"d_model": 64, "layers": 2}, "example")
    Traceback (most recent call last):
    ...
    ValueError: example: layers: unknown key; expected one of d_model, n_layers, n_heads
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{source}: " + "; ".join(_explain(model, item) for item in error.errors())) from None


def _explain(model: type[BaseModel], item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key" + _expected_keys(model, item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    got = "" if item["type"] in ("missing", "value_error") else f", got {item['input']!r}"
    return f"{where}: {message}{got}" if where else message


def _expected_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        inner = model.model_fields[part].annotation
        candidates = [inner, *getattr(inner, "__args__", ())]
        found = [c for c in candidates if isinstance(c, type) and not isinstance(c, types.GenericAlias)]
        if not (nested := [c for c in found if issubclass(c, BaseModel)]):
            return ""
        model = nested[0]
    return "; expected one of " + ", ".join(model.model_fields)


class _OnceEach(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML would keep the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # later, merged names stand there too
        node = super().compose_mapping_node(anchor)
        for place, (key, _) in enumerate(node.value):
            if any((key.tag, key.value) == (other.tag, other.value) for other, _ in node.value[:place]):
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
        return node


def read_yaml(text: str) -> Any:
    """What a YAML text holds; YAMLError where it is none, or names something twice."""
    return yaml.load(text, _OnceEach)


def load_params(size: str, folder: Path | None = None) -> SizeParams:
    """Read `params/<size>.yaml`, or a file of your own that is written like it.

    Args:
        size: S, M, L or XL; or the path of a .yaml file.
        folder: where the sizes' files are (default: those that come with srtlib).

    Raises ValueError for a size that does not exist and for unknown keys or wrong types, OSError for a file that
    cannot be read.

    >>> load_params("Q")
    Traceback (most recent call last):
    ...
    ValueError: size 'Q' is not known; expected one of S, M, L, XL, or a file like params/S.yaml
    """
    path = Path(size)
    expected = f"expected one of {', '.join(SIZES)}, or a file like params/S.yaml"
    if size in SIZES:
        path = (folder or project_root() / "params") / f"{size}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"size {size!r} is not known; {expected}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {expected}")
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply; {expected}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds no names and values; {expected}")
    return parse(SizeParams, values, str(path))

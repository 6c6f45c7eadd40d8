"""All settings: flag, type, range, default and help text.

A field is a YAML key, a key in the header of a model file, and a command-line option, all with the
same name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charnn.errors import UsageError

CellName = Literal["lstm", "gru", "rnn"]
SamplerName = Literal["sequential", "random", "records"]
OptimizerName = Literal["adamw", "muon", "sgd"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
PresetName = Literal["auto", "tiny", "small", "medium", "large"]
TokenizerName = Literal["char", "byte", "word", "bpe"]
NewlinesName = Literal["keep", "lf"]
ErrorsName = Literal["strict", "replace"]
UnknownName = Literal["error", "skip", "replace"]  # for out-of-vocabulary symbols

STDIN = "-"  # instead of a file name

MAX_WIDTH = 65_536
MAX_LAYERS = 64
MAX_COUNT = 10**12
LONGEST_PATTERN = 1000  # maximum characters of a regular expression
LONGEST_SHOWN = 80  # maximum characters of an invalid value in a message

# Panels of `--help`.
PANEL_NETWORK = "Network"
PANEL_REGULARIZATION = "Regularization"
PANEL_BATCHING = "Batching"
PANEL_LENGTH = "Training length"
PANEL_OPTIMIZER = "Optimizer"
PANEL_HARDWARE = "Hardware"
PANEL_CHECKPOINTS = "Evaluation and checkpoints"

Fraction = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]


def setting(
    default: Any,
    description: str,
    *,
    panel: str = "",
    names: Sequence[str] = (),
    aliases: Sequence[str] = (),
    by_preset: bool = False,
    shown_default: str = "",
    **constraints: Any,
) -> Any:
    """Return a field of a configuration with the metadata of its command-line option.

    `panel` is its heading in `--help`, `names` are additional names of the option, `aliases` names
    that `--help` does not show. `by_preset` marks a default that a preset can replace.
    `shown_default` describes a default of None. `constraints` are those of pydantic's `Field`.
    """
    option: dict[str, Any] = {
        "panel": panel,
        "names": [*names],
        "aliases": [*aliases],
        "by_preset": by_preset,
        "shown_default": "by preset" if by_preset else shown_default,
    }
    return Field(default, description=description, json_schema_extra=option, **constraints)


class Settings(BaseModel):
    """Base class of settings. Unknown keys, NaN, and `true` for a number are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # --help does not need the validators, which are slow to build
    )


S = TypeVar("S", bound=Settings)


class NetworkConfig(Settings):
    """The shape of a network, apart from its vocabulary."""

    cell: CellName = setting("lstm", "Recurrent cell.", panel=PANEL_NETWORK)
    hidden_size: Width = setting(
        512,
        "Hidden size H of each recurrent layer.",
        panel=PANEL_NETWORK,
        aliases=["--rnn-size"],
        by_preset=True,
    )
    num_layers: int = setting(
        1,
        "Number of recurrent layers.",
        panel=PANEL_NETWORK,
        aliases=["--layers"],
        ge=1,
        le=MAX_LAYERS,
    )
    embedding_dim: Width = setting(
        128, "Size E of the token embedding.", panel=PANEL_NETWORK, by_preset=True
    )
    tie_weights: bool = setting(
        False,
        "Share the embedding and the output weights; needs E = H.",
        panel=PANEL_NETWORK,
        by_preset=True,
    )


class ModelConfig(NetworkConfig):
    """The shape of a language model, stored in the header of its file."""

    vocab_size: int = Field(ge=1, le=2**31 - 1, description="Number of token types V.")

    @model_validator(mode="after")
    def _tied_widths_agree(self) -> Self:
        if self.tie_weights and self.embedding_dim != self.hidden_size:
            raise ValueError(
                f"--tie-weights needs --embedding-dim = --hidden-size, "
                f"not {self.embedding_dim} and {self.hidden_size}"
            )
        return self


class TrainConfig(NetworkConfig):
    """All settings of a training run, as resolved and recorded."""

    data: str | None = Field(None, description="Name or folder of the dataset.")
    preset: PresetName = setting(
        "auto",
        "Preset of default settings; auto chooses by text size and time budget.",
        panel=PANEL_NETWORK,
    )
    dropout: Fraction = setting(
        0.0,
        "Dropout between layers and before the output layer.",
        panel=PANEL_REGULARIZATION,
        by_preset=True,
    )
    input_dropout: Fraction = setting(
        0.0, "Dropout on the token embeddings.", panel=PANEL_REGULARIZATION, by_preset=True
    )
    embedding_dropout: Fraction = setting(
        0.0,
        "Embedding dropout: probability of dropping a token's embedding.",
        panel=PANEL_REGULARIZATION,
    )
    weight_dropout: Fraction = setting(
        0.0,
        "Dropout on the recurrent weight matrices (DropConnect).",
        panel=PANEL_REGULARIZATION,
    )
    activation_reg: float = setting(
        0.0,
        "Activation regularization (AR) coefficient.",
        panel=PANEL_REGULARIZATION,
        ge=0,
        le=1e6,
    )
    temporal_reg: float = setting(
        0.0,
        "Temporal activation regularization (TAR) coefficient.",
        panel=PANEL_REGULARIZATION,
        ge=0,
        le=1e6,
    )
    sampled_softmax: int = setting(
        0,
        "Number of negative samples of sampled softmax; 0 = full softmax.",
        panel=PANEL_OPTIMIZER,
        by_preset=True,
        ge=0,
        le=MAX_COUNT,
    )
    sampler: SamplerName = setting(
        "sequential",
        "Batches: carried streams, or random windows; records if the dataset has them.",
        panel=PANEL_BATCHING,
    )
    batch_size: int = setting(
        64,
        "Batch size B: parallel streams or windows; B × T tokens of records.",
        panel=PANEL_BATCHING,
        by_preset=True,
        ge=1,
        le=1_000_000,
    )
    bptt: int = setting(
        64,
        "Truncated-BPTT length T: tokens per window.",
        panel=PANEL_BATCHING,
        aliases=["--seq-len"],
        by_preset=True,
        ge=1,
        le=1_000_000,
    )
    random_bptt: bool = setting(
        False, "Vary the window length at random (sequential sampler).", panel=PANEL_BATCHING
    )
    epochs: float | None = setting(
        None,
        "Train for this many epochs.",
        panel=PANEL_LENGTH,
        by_preset=True,
        gt=0,
        le=1e5,
    )
    steps: int | None = setting(
        None, "Train for this many optimizer steps.", panel=PANEL_LENGTH, ge=1, le=MAX_COUNT
    )
    minutes: float | None = setting(
        None,
        "Time budget of the whole command, including the final evaluation.",
        panel=PANEL_LENGTH,
        gt=0,
        le=1e7,
    )
    optimizer: OptimizerName = setting(
        "muon",
        "Optimizer; muon uses AdamW for parameters that are not matrices.",
        panel=PANEL_OPTIMIZER,
    )
    lr: float = setting(
        4e-3,
        "Peak learning rate of AdamW or SGD.",
        panel=PANEL_OPTIMIZER,
        by_preset=True,
        gt=0,
        le=1e6,
    )
    matrix_lr: float = setting(
        0.05, "Peak learning rate of Muon.", panel=PANEL_OPTIMIZER, gt=0, le=1e6
    )
    warmup_steps: int = setting(
        0, "Steps of linear learning-rate warm-up.", panel=PANEL_OPTIMIZER, ge=0, le=MAX_COUNT
    )
    final_lr_frac: float = setting(
        0.02,
        "Final learning rate as a fraction of the peak (cosine schedule).",
        panel=PANEL_OPTIMIZER,
        by_preset=True,
        ge=0,
        le=1,
    )
    weight_decay: float = setting(
        0.01, "Decoupled weight decay of AdamW or SGD.", panel=PANEL_OPTIMIZER, ge=0, le=1e3
    )
    matrix_decay: float = setting(
        0.1, "Decoupled weight decay of Muon.", panel=PANEL_OPTIMIZER, ge=0, le=1e3
    )
    average: bool = setting(
        False,
        "Average weights late in training; keep the average if it is better.",
        panel=PANEL_REGULARIZATION,
        by_preset=True,
    )
    patience: int | None = setting(
        None,
        "Stop after N validations without improvement.",
        panel=PANEL_LENGTH,
        ge=1,
        le=MAX_COUNT,
        shown_default="off",
    )
    grad_clip: float = setting(
        1.0,
        "Maximum global norm of the gradient; 0 = off.",
        panel=PANEL_OPTIMIZER,
        aliases=["--clip"],
        ge=0,
        le=1e9,
    )
    device: str = setting(
        "auto",
        "Device: auto, cpu, cuda, cuda:N or mps.",
        panel=PANEL_HARDWARE,
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
    )
    precision: PrecisionName = setting(
        "auto",
        "Precision of matrix products; auto benchmarks this machine.",
        panel=PANEL_HARDWARE,
    )
    seed: int = setting(1, "Random seed of weights, dropout and data order.", ge=0, lt=2**63)
    eval_every: int | None = setting(
        None,
        "Steps between validations.",
        panel=PANEL_CHECKPOINTS,
        ge=1,
        le=MAX_COUNT,
        shown_default="10 to 20 validations per run",
    )
    save_every: int | None = setting(
        None,
        "Steps between checkpoints.",
        panel=PANEL_CHECKPOINTS,
        ge=1,
        le=MAX_COUNT,
        shown_default="every 5 minutes",
    )
    sample_every: int | None = setting(
        None,
        "Steps between samples shown during training.",
        panel=PANEL_CHECKPOINTS,
        ge=1,
        le=MAX_COUNT,
        shown_default="off",
    )
    deterministic: bool = setting(
        False,
        "Make runs with the same seed, machine and threads bit-identical.",
        panel=PANEL_HARDWARE,
    )
    threads: int | None = setting(
        None,
        "CPU threads.",
        panel=PANEL_HARDWARE,
        ge=1,
        le=4096,
        shown_default="all cores",
    )

    def shape(self, vocab_size: int) -> ModelConfig:
        """Return the shape of the network for this vocabulary size. Raise UsageError if invalid."""
        values = {name: getattr(self, name) for name in NetworkConfig.model_fields}
        return validate(ModelConfig, {**values, "vocab_size": vocab_size})

    @model_validator(mode="after")
    def _one_budget_at_most(self) -> Self:
        given = [flag(name) for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            one_of = ", ".join(map(flag, BUDGETS))
            raise ValueError(f"give only one of {one_of}, not {' and '.join(given)}")
        if self.deterministic and self.minutes is not None:
            raise ValueError("--deterministic needs --steps or --epochs, not --minutes")
        return self


BUDGETS = ("epochs", "steps", "minutes")
# Settings that depend on the machine, and the value that leaves the choice to charnn.
MACHINE = {"device": "auto", "precision": "auto", "threads": None}
# Settings that cannot change when a run is resumed, in addition to the shape of the network.
FIXED_SETTINGS = ("batch_size", "bptt", "sampler", "random_bptt", "seed", "optimizer")


class SampleConfig(Settings):
    """Settings of sampling: filters of the next token, and the length."""

    temperature: float = setting(
        0.8,
        "Softmax temperature; 0 = greedy.",
        names=["--temp"],
        ge=0,
    )
    max_new_tokens: int = setting(
        2000,
        "Number of tokens to generate; -1 = unlimited.",
        names=["-n"],
        aliases=["--length"],
        ge=-1,
        le=MAX_COUNT,
    )
    top_k: int = setting(0, "Sample from the k most likely tokens; 0 = off.", ge=0, le=MAX_COUNT)
    top_p: float = setting(
        1.0, "Sample from the fewest tokens with total probability p; 1 = off.", gt=0, le=1
    )
    min_p: float = setting(
        0.0, "Drop tokens below this fraction of the top probability; 0 = off.", ge=0, le=1
    )
    repetition_penalty: float = setting(
        1.0,
        "Penalty on recently generated tokens; 1 = off.",
        aliases=["--repeat-penalty"],
        gt=0,
        le=1e6,
    )


class PrepareConfig(Settings):
    """Settings of a dataset, recorded in its meta.json."""

    tokenizer: TokenizerName = setting("char", "Unit of text.")
    vocab_size: int | None = setting(
        None,
        "Maximum vocabulary size.",
        ge=1,
        le=2**31 - 1,
        shown_default="1024 for bpe, else unlimited",
    )
    min_count: int = setting(1, "Minimum count of a symbol; rarer symbols become <unk>.", ge=1)
    word_pattern: str | None = setting(
        None,
        "Regular expression that matches a word (word tokenizer).",
        max_length=LONGEST_PATTERN,
    )
    val_frac: Fraction = setting(0.1, "Fraction of the text held out for validation, at its end.")
    test_frac: Fraction = setting(
        0.0, "Fraction of the text held out for testing, after the validation text."
    )
    lines: bool = setting(False, "Treat each line as a record; shuffle records before splitting.")
    unique: bool = setting(False, "Remove repeated lines first (with --lines).")
    newlines: NewlinesName = setting("keep", "Line endings: keep, or convert to LF.")
    encoding: str = setting("utf-8", "Character encoding of the text.")
    errors: ErrorsName = setting("strict", "Undecodable bytes: fail, or replace with U+FFFD.")
    seed: int = setting(1, "Random seed of the record shuffle.", ge=0, lt=2**63)

    @model_validator(mode="after")
    def _train_split_is_not_empty(self) -> Self:
        if self.val_frac + self.test_frac >= 1:
            raise ValueError("--val-frac + --test-frac must be less than 1")
        return self


def validate(kind: type[S], values: Mapping[str, Any], source: str = "") -> S:
    """Validate values as settings of `kind`. Errors name flags, or keys of the file `source`.

    Raise UsageError with the field, the given value, and the valid range.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _explained(kind, error, source) from None


def merge(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` over `settings`; a budget in `given` replaces any other in `settings`."""
    if any(name in given for name in BUDGETS):
        settings = {name: value for name, value in settings.items() if name not in BUDGETS}
    return {**settings, **given}


def flag(field: str) -> str:
    """Return the name of a field on the command line."""
    return "--" + field.replace("_", "-")


def _explained(kind: type[Settings], error: ValidationError, source: str) -> UsageError:
    first = error.errors(include_url=False)[0]
    where = f"{source}: " if source else ""
    if not first["loc"]:  # a rule that involves several settings
        return UsageError(where + (_with_keys(problem(first)) if source else problem(first)))
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return unknown_key(kind, name, source)
    shown, value = name if source else flag(name), first["input"]
    what = problem(first)
    if first["type"] == "string_pattern_mismatch":  # the description lists what is valid
        what = "must be " + str(kind.model_fields[name].description).partition(": ")[2].rstrip(".")
    message = f"{where}{shown} is {shown_value(value)}: {what}"
    choices = re.findall(r"'(.*?)'", str(first.get("ctx", {}).get("expected", "")))
    return UsageError(message, did_you_mean(str(value), choices))


def _with_keys(text: str) -> str:
    """Return a message with the keys of a file instead of flags."""
    return re.sub(r"--([a-z-]+)", lambda name: name[1].replace("-", "_"), text)


# What is wrong with a value, by the type of the error of pydantic; {names} are in its context.
PROBLEMS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
}


def problem(error: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, from the details of an error of pydantic."""
    known = PROBLEMS.get(error["type"])
    if known is None:
        return str(error["msg"]).removeprefix("Value error, ")
    limits = {
        name: f"{limit:,.12g}" if isinstance(limit, float) else limit
        for name, limit in error.get("ctx", {}).items()
    }
    return known.format(**limits).replace("'", "")


def shown_value(value: Any) -> str:
    """Return a wrong value for a message, shortened; whole numbers have no decimals."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d+)?", value)
    text = f"{value:.12g}" if isinstance(value, float) else value if is_number else repr(value)
    return text[:LONGEST_SHOWN] + "…" * (len(text) > LONGEST_SHOWN)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint with the most similar of the known names; empty if none is similar."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else ""


def unknown_key(kind: type[Settings], name: str, source: str) -> UsageError:
    """Return the error for an unknown key of `kind`, which suggests the most similar key."""
    known = list(kind.model_fields)
    hint = did_you_mean(name, known) or f"keys are: {', '.join(known)}"
    where = f"{source}: " if source else ""
    return UsageError(f"{where}unknown key {name!r}", hint)

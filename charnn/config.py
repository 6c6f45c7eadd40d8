"""Settings as validated values: names, types, ranges, defaults and help texts.

A field here is a YAML key, a header key and a flag with dashes, all three spelled alike.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charnn.errors import UsageError

CellName = Literal["lstm", "gru", "rnn"]
SamplerName = Literal["sequential", "random"]
OptimizerName = Literal["adamw", "muon", "sgd"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
PresetName = Literal["auto", "tiny", "small", "medium", "large"]
TokenizerName = Literal["char", "byte", "word", "bpe"]
NewlinesName = Literal["keep", "lf"]
ErrorsName = Literal["strict", "replace"]

STDIN = "-"  # in the place of a file name

MAX_WIDTH = 65_536
MAX_LAYERS = 64
MAX_COUNT = 10**12
LONGEST_PATTERN = 1000  # characters of a regular expression
LONGEST_SHOWN = 80  # characters of a wrong value in a message

Fraction = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class Settings(BaseModel):
    """Frozen, strict, and closed: an unknown key, a NaN or `true` for a number is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


S = TypeVar("S", bound=Settings)


class NetworkConfig(Settings):
    """The shape of a network, apart from its vocabulary."""

    cell: CellName = Field("lstm", description="Recurrence: lstm, gru or rnn (tanh).")
    hidden_size: Width = Field(512, description="Width H of each recurrent layer.")
    num_layers: int = Field(1, ge=1, le=MAX_LAYERS, description="Number of recurrent layers.")
    embedding_dim: Width = Field(128, description="Width E of the token embedding.")
    tie_weights: bool = Field(
        False, description="Use the embedding as output weights; needs E = H."
    )


class ModelConfig(NetworkConfig):
    """The shape of a language model; stored in the header of its file."""

    vocab_size: int = Field(ge=1, le=2**31 - 1, description="Number of token types V.")

    @model_validator(mode="after")
    def _tied_widths_agree(self) -> Self:
        if self.tie_weights and self.embedding_dim != self.hidden_size:
            raise ValueError(
                f"tie_weights needs embedding_dim = hidden_size, "
                f"not {self.embedding_dim} and {self.hidden_size}"
            )
        return self


class TrainConfig(NetworkConfig):
    """Everything that decides what a training run computes, as resolved and recorded."""

    data: str | None = Field(None, description="Name or folder of the dataset.")
    preset: PresetName = Field(
        "auto", description="Where settings that are not given come from; auto looks at the data."
    )
    dropout: Fraction = Field(0.0, description="Dropout between layers and before the output.")
    input_dropout: Fraction = Field(0.0, description="Dropout on the embeddings.")
    embedding_dropout: Fraction = Field(
        0.0, description="Share of the vocabulary whose embeddings are zero in a step."
    )
    weight_dropout: Fraction = Field(
        0.0, description="Dropout on the recurrent matrices themselves (weight-drop)."
    )
    activation_reg: float = Field(
        0.0, ge=0, le=1e6, description="Penalty on the squares of the top layer's outputs (AR)."
    )
    temporal_reg: float = Field(
        0.0, ge=0, le=1e6, description="Penalty on the squares of their changes (TAR)."
    )
    sampled_softmax: int = Field(
        0,
        ge=0,
        le=MAX_COUNT,
        description="Symbols drawn for the loss beside those of the batch; 0 = all, exactly.",
    )
    sampler: SamplerName = Field(
        "sequential",
        description="Order of the data: parallel streams with carried state, or random windows.",
    )
    batch_size: int = Field(64, ge=1, le=1_000_000, description="Parallel streams or windows B.")
    bptt: int = Field(
        64, ge=1, le=1_000_000, description="Tokens T between two detaches (sequence length)."
    )
    random_bptt: bool = Field(
        False, description="Vary the length of windows at random (sequential sampler)."
    )
    epochs: float | None = Field(
        None, gt=0, le=1e5, description="Train for this many passes over the training split."
    )
    steps: Count | None = Field(None, description="Train for this many optimizer updates.")
    minutes: float | None = Field(
        None, gt=0, le=1e7, description="Take about this long in all, from start to final scores."
    )
    optimizer: OptimizerName = Field(
        "muon", description="Update rule: muon (matrices, adamw for the rest), adamw or sgd."
    )
    lr: float = Field(4e-3, gt=0, le=1e6, description="Peak learning rate.")
    matrix_lr: float = Field(
        0.05, gt=0, le=1e6, description="Peak learning rate of muon for the matrices."
    )
    warmup_steps: int = Field(0, ge=0, le=MAX_COUNT, description="Steps of linear warm-up.")
    final_lr_frac: float = Field(
        0.02, ge=0, le=1, description="Share of the peak at which the cosine schedule ends."
    )
    weight_decay: float = Field(0.01, ge=0, le=1e3, description="Decoupled weight decay.")
    matrix_decay: float = Field(
        0.1, ge=0, le=1e3, description="Decoupled weight decay of muon for the matrices."
    )
    average: bool = Field(
        False, description="Average the weights over the end, and keep that if it is better."
    )
    patience: Count | None = Field(
        None, description="Stop after so many validations without a better one; default: never."
    )
    grad_clip: float = Field(
        1.0, ge=0, le=1e9, description="Largest global norm of the gradient; 0 = off."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto, cpu, cuda, cuda:N or mps.",
    )
    precision: PrecisionName = Field(
        "auto", description="Arithmetic of the matrix products; auto measures what is quicker."
    )
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of weights, dropout and data order.")
    eval_every: Count | None = Field(
        None, description="Steps between validations; default: about twenty a run."
    )
    save_every: Count | None = Field(
        None, description="Steps between checkpoints; default: every five minutes."
    )
    sample_every: Count | None = Field(
        None, description="Steps between samples shown while training; default: none."
    )
    deterministic: bool = Field(
        False, description="Same seed, machine and threads: same model, bit for bit."
    )
    threads: int | None = Field(None, ge=1, le=4096, description="CPU threads; default: all.")

    def shape(self, vocab_size: int) -> ModelConfig:
        """The network that this asks for on so many symbols. Raises UsageError."""
        values = {name: getattr(self, name) for name in NetworkConfig.model_fields}
        return validate(ModelConfig, {**values, "vocab_size": vocab_size})

    @model_validator(mode="after")
    def _one_budget_at_most(self) -> Self:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of epochs, steps and minutes, not {' and '.join(given)}")
        if self.deterministic and self.minutes is not None:
            raise ValueError("deterministic goes with steps or epochs, not with minutes")
        return self


BUDGETS = ("epochs", "steps", "minutes")


class SampleConfig(Settings):
    """How the next token is drawn, and when a sample ends."""

    temperature: float = Field(
        0.8, ge=0, description="Divides the logits; 0 = always the likeliest, 1 = as learnt."
    )
    max_new_tokens: int = Field(
        2000, ge=-1, le=MAX_COUNT, description="Tokens to draw after the prompt; -1 = endless."
    )
    top_k: int = Field(0, ge=0, le=MAX_COUNT, description="Draw among the k likeliest; 0 = off.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw among the likeliest that sum to p; 1 = off."
    )
    min_p: float = Field(
        0.0, ge=0, le=1, description="Drop tokens below this share of the likeliest; 0 = off."
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=1e6, description="Penalty on tokens drawn lately; 1 = off."
    )


class PrepareConfig(Settings):
    """How text becomes a dataset; recorded in its meta.json."""

    tokenizer: TokenizerName = Field("char", description="Unit of text: char, byte, word or bpe.")
    vocab_size: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Largest vocabulary (bpe: 1024)."
    )
    min_count: int = Field(1, ge=1, description="Symbols seen less often become <unk>.")
    word_pattern: str | None = Field(
        None,
        max_length=LONGEST_PATTERN,
        description="Regular expression that a word matches (tokenizer word).",
    )
    val_frac: Fraction = Field(0.1, description="Share of the text, its tail, for validation.")
    test_frac: Fraction = Field(0.0, description="Share of the text, after that, for testing.")
    lines: bool = Field(False, description="Each line is a record; shuffle them before the split.")
    newlines: NewlinesName = Field(
        "keep", description="Line ends: as they are, or all turned into LF."
    )
    encoding: str = Field("utf-8", description="Encoding of the text.")
    errors: ErrorsName = Field(
        "strict", description="Undecodable bytes: refuse, or replace with U+FFFD."
    )
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of the shuffle of records.")

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> Self:
        if self.val_frac + self.test_frac >= 1:
            raise ValueError("val_frac and test_frac leave nothing to train on")
        return self


def validate(kind: type[S], values: Mapping[str, Any], source: str = "") -> S:
    """Settings of `kind` from `values`; `source` (a file) is named when they are wrong.

    Raises UsageError naming the field, what was given, and its range.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _explained(kind, error, source) from None


def flag(field: str) -> str:
    """The spelling of a field on the command line."""
    return "--" + field.replace("_", "-")


def _explained(kind: type[Settings], error: ValidationError, source: str) -> UsageError:
    first = error.errors(include_url=False)[0]
    where = f"{source}: " if source else ""
    if not first["loc"]:
        return UsageError(where + str(first["msg"]).removeprefix("Value error, "))
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return unknown_key(kind, name, source)
    shown = name if source else flag(name)
    value = repr(first["input"])
    value = value[:LONGEST_SHOWN] + "…" * (len(value) > LONGEST_SHOWN)
    message = f"{where}{shown} is {value}: {_lower(first['msg'])}"
    return UsageError(message, _field_help(kind, name))


def unknown_key(kind: type[Settings], name: str, source: str) -> UsageError:
    """The error for a key that `kind` does not have, with the nearest one that it does."""
    import difflib

    near = difflib.get_close_matches(name, list(kind.model_fields), n=1)
    hint = f"did you mean {near[0]}?" if near else f"keys are: {', '.join(kind.model_fields)}"
    where = f"{source}: " if source else ""
    return UsageError(f"{where}unknown key {name!r}", hint)


def _field_help(kind: type[Settings], name: str) -> str:
    info = kind.model_fields.get(name)
    return f"{name}: {info.description}" if info and info.description else ""


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]

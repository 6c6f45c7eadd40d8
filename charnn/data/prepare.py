"""Prepare a dataset from sources: decode, split, build a vocabulary, encode, write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn.config import PrepareConfig
from charnn.data import dataset as corpus
from charnn.data.charset import TextReport, UndecodableError, decode, join_bytes
from charnn.data.dataset import write_dataset
from charnn.data.sources import STDIN, Source, is_stream
from charnn.data.splits import SPLITS, Text, ended, split_records, split_text
from charnn.errors import DataError, StorageError, UsageError
from charnn.storage import atomic
from charnn.storage.workspace import MODEL_FILE, fit_name
from charnn.tokenizers.tokenizer import Tokenizer, build
from charnn.tokenizers.tokenizer_json import load_tokenizer

Sources = Sequence[Source]
SHOWN_SYMBOLS = 5  # unknown symbols that a note spells out


@dataclass(frozen=True)
class Prepared:
    """What came of it: the manifest, remarks for the user, and whether anything was written."""

    folder: Path
    meta: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    unchanged: bool


def prepare(
    sources: Mapping[str, Sources],
    folder: Path,
    config: PrepareConfig,
    *,
    tokenizer: Tokenizer | None = None,
    replace: bool = False,
) -> Prepared:
    """Make the dataset `folder` from sources under "train" and perhaps "val" and "test".

    A split without sources is cut from the text of "train", by its fraction; the fraction of
    another is recorded as 0. The vocabulary is that of the training part, or that of `tokenizer`.
    An existing folder is replaced only with `replace`, and left as it is where nothing would
    change.
    Raises DataError, UsageError or StorageError; nothing half-written stays.
    """
    config = config.model_copy(
        update={f"{split}_frac": 0.0 for split in sources if split != "train"}
    )
    texts, notes = _read(sources, config)
    splits = _split(texts, config)
    if "train" not in splits:
        raise DataError("nothing is left to train on", "lower --val-frac")
    tokenizer = tokenizer or build(
        config.tokenizer,
        splits["train"],
        vocab_size=config.vocab_size,
        min_count=config.min_count,
        word_pattern=config.word_pattern,
    )
    described = [_described(source, split) for split, some in sources.items() for source in some]
    meta, unchanged = write_dataset(folder, splits, tokenizer, config, described, replace=replace)
    notes += _unknown_notes(meta, splits, tokenizer)
    return Prepared(folder, meta, tuple(notes), tuple(_warnings(meta)), unchanged)


def tokenizer_from(path: Path) -> Tokenizer:
    """The tokenizer of a dataset folder, a run folder, a model file or a tokenizer.json.

    Raises DataError or StorageError.
    """
    for candidate in (path / corpus.TOKENIZER_FILE, path / MODEL_FILE, path):
        if candidate.is_file():
            return _read_tokenizer(candidate)
    raise StorageError(f"no tokenizer in {path}", "give a dataset, a run, or a tokenizer.json")


def _read_tokenizer(path: Path) -> Tokenizer:
    if path.suffix == ".safetensors":
        from charnn.model.model_file import read_model

        return read_model(path).tokenizer
    try:
        return load_tokenizer(atomic.read_bytes(path).decode("utf-8", "replace"))
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


def _read(
    sources: Mapping[str, Sources], config: PrepareConfig
) -> tuple[dict[str, Text], list[str]]:
    texts: dict[str, Text] = {}
    notes: list[str] = []
    for split, some in sources.items():
        if config.tokenizer == "byte":
            texts[split], report = join_bytes(some, newlines=config.newlines)
        else:
            texts[split], report = _decoded(some, config)
        notes += report.notes
    return texts, notes


def _decoded(sources: Sources, config: PrepareConfig) -> tuple[str, TextReport]:
    try:
        return decode(
            sources, encoding=config.encoding, errors=config.errors, newlines=config.newlines
        )
    except UndecodableError as error:
        hint = f"{error.hint}, or --tokenizer byte for the bytes as they are"
        raise UndecodableError(error.message, hint) from None


def _split(texts: Mapping[str, Text], config: PrepareConfig) -> dict[str, Text]:
    fractions = config.val_frac, config.test_frac
    given = {name: text for name, text in texts.items() if name != "train"}
    if config.lines:
        given = {name: ended(text) for name, text in given.items()}
        cut = split_records(texts["train"], *fractions, config.seed)
    else:
        cut = split_text(texts["train"], *fractions)
    splits = given | cut
    return {name: splits[name] for name in SPLITS if name in splits}


def _described(source: Source, split: str) -> dict[str, Any]:
    return {
        "name": source.name,
        "split": split,
        "bytes": len(source.data),
        "sha256": source.sha256,
    }


def _unknown_notes(
    meta: Mapping[str, Any], splits: Mapping[str, Text], tokenizer: Tokenizer
) -> list[str]:
    notes = []
    for name, described in meta["splits"].items():
        if described["unknown"]:
            symbols = tokenizer.unknown_symbols(splits[name])
            commonest = ", ".join(f"{s!r} ×{n}" for s, n in symbols.most_common(SHOWN_SYMBOLS))
            notes.append(
                f"{name}: {described['unknown']:,} tokens of {len(symbols):,} kinds are not in the "
                f"vocabulary and count as <unk>: {commonest}"
            )
    return notes


def _warnings(meta: Mapping[str, Any]) -> list[str]:
    splits = meta["splits"]
    warnings = []
    if "val" not in splits:
        warnings.append("no validation split: training cannot tell how good the model is")
    if splits["train"]["tokens"] < SMALL:
        warnings.append(
            f"only {splits['train']['tokens']:,} tokens to train on; a model will learn little"
        )
    return warnings


SMALL = 2000  # tokens; below this even the smallest settings make a handful of steps an epoch


def dataset_name(arguments: Sequence[str], default: str) -> str:
    """The name of a dataset after its first source: tinyshakespeare.txt.gz → tinyshakespeare.

    The pipe of `<(zcat text.gz)` has no name that would mean something later: it is stdin.
    Raises UsageError where none can be made of it.
    """
    if not arguments:
        return default
    first = arguments[0]
    name = "stdin" if first == STDIN or is_stream(first) else Path(first).resolve().name
    for suffix in (".gz", ".txt"):
        name = name.removesuffix(suffix)
    name = name.strip(".*?[]")
    if not name:
        raise UsageError(f"no name for the dataset can be made of {first!r}", "give it a --name")
    return fit_name(name)

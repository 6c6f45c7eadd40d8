"""Prepare a dataset: sources, text, splits, tokenizer, token ids, files."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charnn.config import STDIN, PrepareConfig, flag, validate
from charnn.data.charset import UndecodableError, read_text
from charnn.data.corpora import DEFAULT_CORPUS, Catalogue, Progress
from charnn.data.dataset import Dataset, EncodedSplit, is_written, new_dataset, write_dataset
from charnn.data.sources import Reading, Source, is_stream, read_sources
from charnn.data.splits import (
    SPLITS,
    count_records,
    count_shared_records,
    distinct_records,
    end_with_newline,
    split_records,
    split_text,
)
from charnn.display import humanize
from charnn.errors import DataError, UsageError
from charnn.storage.atomic import make_folder
from charnn.storage.lock import Lock
from charnn.storage.workspace import META_FILE, fit_name
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import Text, Tokenizer, VocabularyOptions
from charnn.tokenizers.utf8 import count_bytes, count_chars

VOCABULARY_SETTINGS = ("tokenizer", "vocab_size", "min_count", "word_pattern")
PACKED = (".gz",)  # suffixes of compressed files, which follow that of the text
SMALL = 2000  # tokens; with fewer, even the smallest preset has only a few steps per epoch


@dataclass(frozen=True)
class Prepared:
    """A dataset, messages for the user, and whether the folder already held it."""

    dataset: Dataset
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    unchanged: bool

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return self.dataset.name

    @property
    def folder(self) -> Path:
        """The folder of the dataset."""
        return self.dataset.folder

    def __repr__(self) -> str:
        tokenizer = self.dataset.tokenizer
        sizes = ", ".join(f"{name}={len(ids)}" for name, ids in self.dataset.splits.items())
        return (
            f"Prepared({str(self.folder)!r}, tokenizer={tokenizer.kind!r}, "
            f"vocab_size={tokenizer.vocab_size}, {sizes})"
        )


def check_options(
    given: Mapping[str, Any], val: str | None, test: str | None, tokenizer_from: str | None
) -> None:
    """Raise UsageError for wrong settings and for options that exclude each other."""
    validate(PrepareConfig, given)
    for split, file in (("val", val), ("test", test)):
        if file is not None and f"{split}_frac" in given:
            raise UsageError(
                f"--{split} and --{split}-frac cannot be combined", "leave out one of them"
            )
    clash = [flag(name) for name in VOCABULARY_SETTINGS if name in given]
    if tokenizer_from is not None and clash:
        raise UsageError(
            f"--tokenizer-from cannot be combined with {', '.join(clash)}",
            "leave out one of them; the vocabulary is reused unchanged",
        )


def read_splits(
    sources: Sequence[str],
    given: Mapping[str, Any],
    *,
    val: str | None = None,
    test: str | None = None,
    skip: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Reading:
    """Read the sources; the files `val` and `test` replace the splits that a corpus has.

    The folders `skip` are left out. Raise UsageError if `given` has a fraction for a split that the
    corpus has, and what `read_sources` raises.
    """
    catalogue = Catalogue()
    reading = read_sources(sources, catalogue=catalogue, progress=progress, skip=skip)
    if val is not None:
        reading = reading.with_split("val", read_sources([val], catalogue=catalogue).sources)
    if test is not None:
        reading = reading.with_split("test", read_sources([test], catalogue=catalogue).sources)
    refuse_own_splits(given, reading)
    return reading


def refuse_own_splits(given: Mapping[str, Any], reading: Reading) -> None:
    """Raise UsageError for a fraction of a split that the corpus already has."""
    for split in ("val", "test"):
        if reading.of(split) and f"{split}_frac" in given:
            raise UsageError(f"the corpus already has a {split} split", f"leave out --{split}-frac")


def prepare_dataset(
    reading: Reading,
    name: str,
    data_dir: Path,
    given: Mapping[str, Any],
    *,
    tokenizer: Tokenizer | None = None,
    replace: bool = False,
) -> Prepared:
    """Prepare the dataset `name`, a checked name, in `data_dir`; hold its lock meanwhile.

    Corpora of records are treated as with `lines`. Raise BusyError if another process writes the
    dataset, or if it would be replaced while a training run reads it, and what `prepare` raises.
    """
    config, notes = validate(PrepareConfig, given), []
    if reading.records and "lines" not in given:
        config = config.model_copy(update={"lines": True})
        notes.append(
            "each line of the corpus is a record, as with --lines; --no-lines joins the lines"
        )
    if config.unique and not config.lines:
        raise UsageError("--unique removes repeated records, and this text has none", "add --lines")
    folder = data_dir / name
    make_folder(data_dir)
    # A dataset that exists is not written without `replace`: others may read it meanwhile.
    with Lock(data_dir, name, shared=folder.exists() and not replace):
        prepared = prepare(reading, folder, config, tokenizer=tokenizer, replace=replace)
    return dataclasses.replace(prepared, notes=(*notes, *prepared.notes))


def prepare(
    reading: Reading,
    folder: Path,
    config: PrepareConfig,
    *,
    tokenizer: Tokenizer | None = None,
    replace: bool = False,
) -> Prepared:
    """Prepare the dataset `folder` from sources, whose bytes are released.

    A split without sources is cut from the text of "train" by its fraction; the fraction of a split
    with sources is recorded as 0. Without `tokenizer`, one is built from the train split. A folder
    with another dataset is replaced only if `replace` is set. Raise DataError, UsageError or
    StorageError; a failure leaves no partial dataset.
    """
    sources = {split: some for split in SPLITS if (some := reading.of(split))}
    overridden: dict[str, Any] = {f"{split}_frac": 0.0 for split in sources if split != "train"}
    if tokenizer:
        overridden["tokenizer"] = tokenizer.kind
    config = config.model_copy(update=overridden)
    texts, notes = _read_texts(sources, config)
    splits, removed = _split(texts, config)
    if "train" not in splits:
        raise DataError("the training split is empty", "use a smaller --val-frac or --test-frac")
    own_vocabulary = not tokenizer
    if not tokenizer:
        options = VocabularyOptions(config.vocab_size, config.min_count, config.word_pattern)
        tokenizer = TOKENIZERS[config.tokenizer].build(splits["train"], options)
    records = _count_records(splits, removed) if config.lines else None
    encoded = {
        name: encode_split(text, tokenizer, records=config.lines) for name, text in splits.items()
    }
    described = [_described(source) for some in sources.values() for source in some]
    dataset = new_dataset(
        folder, tokenizer, encoded, config, described, records, own_vocabulary=own_vocabulary
    )
    unchanged = is_written(dataset)
    if unchanged:
        (folder / META_FILE).touch()  # `train` uses the most recently prepared dataset by default
    else:
        write_dataset(dataset, replace=replace)
    notes += [*_record_notes(records), *_unknown_notes(encoded)]
    return Prepared(dataset, tuple(notes), tuple(_warnings(dataset)), unchanged)


def _read_texts(
    sources: Mapping[str, Sequence[Source]], config: PrepareConfig
) -> tuple[dict[str, Text], list[str]]:
    """Return the text of every split that has sources, and notes about the sources."""
    texts: dict[str, Text] = {}
    notes: list[str] = []
    for split, some in sources.items():
        try:
            texts[split], report = read_text(some, config)
        except UndecodableError as error:
            hint = f"{error.hint}, or --tokenizer byte to use the raw bytes"
            raise UndecodableError(error.message, hint) from None
        for source in some:
            source.release()
        notes += report.notes
    return texts, notes


def _split(texts: Mapping[str, Text], config: PrepareConfig) -> tuple[dict[str, Text], int]:
    """Return the text of every split, and the number of repeated lines that were removed.

    Splits without sources are cut from the train text.
    """
    removed = 0
    if config.unique:
        texts, removed = distinct_records(texts)
    fractions = config.val_frac, config.test_frac
    given = {name: text for name, text in texts.items() if name != "train"}
    if config.lines:
        given = {name: end_with_newline(text) for name, text in given.items()}
        cut = split_records(texts["train"], *fractions, config.seed)
    else:
        cut = split_text(texts["train"], *fractions)
    splits = given | cut
    return {name: splits[name] for name in SPLITS if name in splits}, removed


def encode_split(text: Text, tokenizer: Tokenizer, *, records: bool = False) -> EncodedSplit:
    """Encode the text of a split; count its characters, bytes and out-of-vocabulary symbols.

    With `records`, each line is encoded as a text of its own. Raise UsageError if the vocabulary
    then lacks the newline.
    """
    if records and tokenizer.newline_id is None:
        raise UsageError(
            "the newline, which ends each record, is not in the vocabulary",
            "use a larger --vocab-size, a smaller --min-count, or another --word-pattern or "
            "--tokenizer-from",
        )
    encoded = tokenizer.encode_records(text) if records else tokenizer.encode(text)
    unknown = Counter({symbol: len(offsets) for symbol, offsets in encoded.unknown.items()})
    if isinstance(text, bytes):
        return EncodedSplit(encoded.ids, count_chars(text), len(text), unknown)
    return EncodedSplit(encoded.ids, len(text), count_bytes(text), unknown)


def _described(source: Source) -> dict[str, Any]:
    """Return the manifest entry of a source."""
    return {
        "name": source.name,
        "split": source.split,
        "bytes": source.size,
        "sha256": source.sha256,
    }


def _count_records(splits: Mapping[str, Text], removed: int) -> dict[str, int]:
    """Return the manifest entry of records.

    It has the number of records of each split, of validation records that are in the training
    split too, and of repeated lines that were removed.
    """
    counts = {name: count_records(text) for name, text in splits.items()}
    shared = count_shared_records(splits["train"], splits["val"]) if "val" in splits else 0
    return {**counts, "val_in_train": shared, "removed": removed}


def _record_notes(records: Mapping[str, int] | None) -> Iterator[str]:
    if records is None:
        return
    if records["removed"]:
        yield f"removed {records['removed']:,} repeated lines"
    if "val" in records:
        remedy = "; --unique removes repeated lines" if records["val_in_train"] else ""
        yield (
            f"{records['val_in_train']:,} of {records['val']:,} validation records are also in "
            f"the training split{remedy}"
        )


def _unknown_notes(splits: Mapping[str, EncodedSplit]) -> list[str]:
    notes = []
    for name, split in splits.items():
        if split.unknown:
            notes.append(
                f"{name}: {split.unknown.total():,} out-of-vocabulary tokens "
                f"({len(split.unknown):,} distinct) encoded as <unk>: "
                f"{humanize.most_frequent(split.unknown)}"
            )
    return notes


def _shared_sources(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a warning for each source whose content is in an earlier split too."""
    warnings, splits = [], dict[str, str]()
    for source in sources:
        split, first = source["split"], splits.setdefault(source["sha256"], source["split"])
        if first != split and source["bytes"]:
            warnings.append(
                f"the {first} and the {split} split have the same text ({source['name']}): the "
                f"{split} loss does not show how well the model generalizes"
            )
    return warnings


def _warnings(dataset: Dataset) -> list[str]:
    warnings = _shared_sources(dataset.meta["sources"])
    if "val" not in dataset.splits:
        warnings.append("no validation split: training will report no validation loss")
    tokens = len(dataset.split("train"))
    if tokens < SMALL:
        warnings.append(f"the training split has only {tokens:,} tokens; a model will learn little")
    return warnings


def dataset_name(arguments: Sequence[str], default: str = DEFAULT_CORPUS) -> str:
    """Derive a dataset name from the first source: novels/one.txt.gz → one.

    The suffix of a file is dropped, characters that a name cannot contain become -. A pattern such
    as `letters/*` is named after its folder. An unnamed pipe such as `<(zcat text.gz)` is named
    like standard input. Raise UsageError if nothing remains.
    """
    if not arguments:
        return default
    first = arguments[0]
    path = Path("stdin" if first == STDIN or is_stream(first) else first).resolve()
    name = fit_name(path.name if path.is_dir() else _without_suffix(path.name))
    name = name or fit_name(path.parent.name)
    if not name:
        raise UsageError(f"cannot derive a dataset name from {first!r}", "give a --name")
    return name


def _without_suffix(file: str) -> str:
    """Return a file name without its suffix: .txt, .log, .jsonl.gz, but not .2 of v1.2."""
    path = Path(file)
    if path.suffix in PACKED:
        path = path.with_suffix("")
    return path.stem if path.suffix[1:2].isalpha() else path.name

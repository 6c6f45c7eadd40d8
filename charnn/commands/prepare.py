"""`charnn prepare`: text → dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charnn.commands import options
from charnn.config import PrepareConfig, flag, validate
from charnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from charnn.data.prepare import Prepared
    from charnn.data.sources import Reading
    from charnn.display.messages import Display
    from charnn.tokenizers.tokenizer import Tokenizer

OF_A_VOCABULARY = ("tokenizer", "vocab_size", "min_count", "word_pattern")  # settings


@options.command(PrepareConfig)
def prepare(
    *,
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help=options.described(
                "Files, folders, globs, - for stdin, or names of corpora.", "embedded corpus"
            ),
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help=options.described("Name of the dataset.", "name of the source")),
    ] = None,
    given: options.Given,
    val: Annotated[str | None, typer.Option(help="Use this file as validation split.")] = None,
    test: Annotated[str | None, typer.Option(help="Use this file as test split.")] = None,
    tokenizer_from: Annotated[
        str | None,
        typer.Option(
            help="Reuse the vocabulary of a dataset, run, model or tokenizer.json.",
            autocompletion=options.complete_any,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a dataset of this name.")
    ] = False,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Tokenize text into a dataset with training, validation and test splits."""
    config = validate(PrepareConfig, given)
    _check(given, val, test, tokenizer_from)
    from charnn.data import prepare
    from charnn.data.corpora import DEFAULT_CORPUS
    from charnn.display.messages import Display
    from charnn.storage import workspace
    from charnn.storage.atomic import make_folder
    from charnn.storage.lock import Lock

    display = Display(quiet=quiet)
    reading = _read(sources or [], val, test, display)
    _refuse_own_splits(given, reading)
    if reading.records and "lines" not in given:
        config = config.model_copy(update={"lines": True})
        display.note("each line of it is a record, as with --lines; --no-lines joins them")
    folder = data_dir / workspace.check_name(
        name or prepare.dataset_name(sources or [], DEFAULT_CORPUS)
    )
    vocabulary = None
    if tokenizer_from is not None:
        vocabulary = _read_tokenizer(workspace.find_tokenizer(tokenizer_from, data_dir, runs_dir))
    make_folder(folder.parent)
    with Lock(folder.parent, folder.name):
        prepared = prepare.prepare(reading, folder, config, tokenizer=vocabulary, replace=force)
    _report(prepared, display, json=json)
    display.hint(f"next: {options.next_command(context, 'charnn', 'train')}")
    return 0


def _check(
    asked: dict[str, Any], val: str | None, test: str | None, tokenizer_from: str | None
) -> None:
    """Raise UsageError for options that exclude each other, before anything is read."""
    for split, file in (("val", val), ("test", test)):
        if file is not None and f"{split}_frac" in asked:
            raise UsageError(
                f"--{split} and --{split}-frac both say what the {split} split is", "leave one out"
            )
    clash = [flag(name) for name in OF_A_VOCABULARY if name in asked]
    if tokenizer_from is not None and clash:
        raise UsageError(
            f"--tokenizer-from takes a vocabulary as it is, without {', '.join(clash)}",
            "leave one of them out",
        )


def _read(arguments: list[str], val: str | None, test: str | None, display: "Display") -> "Reading":
    """Read the sources; --val and --test replace the splits that a corpus has of its own."""
    from charnn.data.corpora import Catalogue
    from charnn.data.sources import read_sources
    from charnn.display.progress import byte_progress

    options.hint_at_terminal(arguments, display)
    catalogue = Catalogue()
    with byte_progress(display, "downloading") as progress:
        reading = read_sources(arguments, catalogue=catalogue, progress=progress)
    for note in reading.notes:
        display.note(note)
    if val is not None:
        reading = reading.with_split("val", read_sources([val], catalogue=catalogue).sources)
    if test is not None:
        reading = reading.with_split("test", read_sources([test], catalogue=catalogue).sources)
    return reading


def _refuse_own_splits(asked: dict[str, Any], reading: "Reading") -> None:
    """Raise UsageError for a fraction of a split that the corpus already has."""
    for split in ("val", "test"):
        if reading.of(split) and f"{split}_frac" in asked:
            raise UsageError(
                f"the corpus has a {split} split of its own", f"leave out --{split}-frac"
            )


def _read_tokenizer(path: Path) -> "Tokenizer":
    """Read the tokenizer of a model file or a tokenizer.json. Raises DataError or StorageError."""
    if path.suffix == ".safetensors":
        from charnn.model.model_file import read_model

        return read_model(path).tokenizer
    from charnn.storage.atomic import read_bytes
    from charnn.tokenizers.tokenizer_json import load_tokenizer

    try:
        return load_tokenizer(read_bytes(path).decode("utf-8", "replace"))
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None


def _report(prepared: "Prepared", display: "Display", *, json: bool) -> None:
    folder, meta = prepared.dataset.folder, prepared.dataset.meta
    for note in prepared.notes:
        display.note(note)
    for warning in prepared.warnings:
        display.warning(warning)
    sizes = ", ".join(f"{name} {split['tokens']:,}" for name, split in meta["splits"].items())
    vocabulary = meta["tokenizer"]
    state = "unchanged" if prepared.unchanged else "written"
    display.note(
        f"{folder}: {vocabulary['kind']} vocabulary of {vocabulary['vocab_size']:,}; "
        f"tokens: {sizes}; {state}"
    )
    if json:
        from charnn.display.stdout import print_json

        print_json({"dataset": folder.name, "folder": str(folder), **meta})

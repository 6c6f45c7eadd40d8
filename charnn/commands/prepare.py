"""`charnn prepare`: text → dataset."""

from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options
from charnn.config import PrepareConfig
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.data.prepare import Prepared
    from charnn.display.messages import Display


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
    val: Annotated[str | None, typer.Option(help="File to use as the validation split.")] = None,
    test: Annotated[str | None, typer.Option(help="File to use as the test split.")] = None,
    tokenizer_from: Annotated[
        str | None,
        typer.Option(
            help="Reuse the tokenizer of a dataset, run or model, or a tokenizer.json.",
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
    from charnn.data.corpora import DEFAULT_CORPUS
    from charnn.data.prepare import check_options, dataset_name, prepare_dataset, read_splits
    from charnn.display.messages import Display
    from charnn.display.progress import byte_progress
    from charnn.model.model_file import read_tokenizer

    check_options(given, val, test, tokenizer_from)
    arguments = sources or []
    name = workspace.check_name(name or dataset_name(arguments))
    display = Display(quiet=quiet)
    options.hint_at_terminal(arguments, display)
    with byte_progress(display, "downloading") as progress:
        skip = [data_dir, runs_dir]
        reading = read_splits(arguments, given, val=val, test=test, skip=skip, progress=progress)
    if not arguments:
        display.note(f"no source given: preparing the embedded corpus {DEFAULT_CORPUS}")
    for note in (reading.summary(), *reading.notes):
        display.note(note)
    tokenizer = None
    if tokenizer_from is not None:
        tokenizer = read_tokenizer(workspace.find_tokenizer(tokenizer_from, data_dir, runs_dir))
    prepared = prepare_dataset(reading, name, data_dir, given, tokenizer=tokenizer, replace=force)
    _report(prepared, display, json=json)
    display.hint(f"next: {options.next_command(context, 'charnn', 'train')}")
    return 0


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

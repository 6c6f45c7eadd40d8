"""`charnn score`: the surprisal of each line of a text."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charnn.commands import options
from charnn.commands.model_arguments import announce, models_and_files
from charnn.config import STDIN
from charnn.display.stdout import Output
from charnn.errors import UsageError

if TYPE_CHECKING:
    from charnn.data.dataset import Dataset
    from charnn.display.messages import Display
    from charnn.evaluation.line_reader import Part
    from charnn.evaluation.surprisal import Reader, Scorer
    from charnn.model.model_file import ModelFile
    from charnn.model.runs import OpenModel

Color = Literal["auto", "always", "never"]


@options.command()
def score(
    argument: options.ModelArgument = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help=options.described("Text files to score.", "stdin")),
    ] = None,
    model: options.ModelOption = None,
    lines: Annotated[
        bool, typer.Option("--lines/--whole", help="Score each line, or the whole text.")
    ] = True,
    state: Annotated[
        Literal["reset", "carry"],
        typer.Option(help="Hidden state at each line: reset, or carry over."),
    ] = "reset",
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Print one row per token: line, bits, token.")
    ] = False,
    color: Annotated[
        Color, typer.Option(help="Color the text by surprisal; auto = on a terminal only.")
    ] = "never",
    bits: Annotated[
        Literal["per_char", "total"],
        typer.Option(help="Value in the first column: bits per character, or total bits."),
    ] = "per_char",
    min_chars: Annotated[
        int, typer.Option(min=0, help="Omit lines with fewer characters than this.", metavar="N")
    ] = 0,
    raw: options.Raw = None,
    overlap: Annotated[
        bool,
        typer.Option(
            "--overlap", help="Add the length of the longest substring found in the training text."
        ),
    ] = False,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Update the weights on each segment after scoring it.")
    ] = False,
    json: Annotated[
        bool,
        typer.Option("--json/--tsv", help="Print JSON objects, or tab-separated values."),
    ] = False,
    threads: Annotated[
        int | None,
        options.train_option("threads", default="all cores"),
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    quiet: options.Quiet = False,
) -> int:
    """Print the surprisal of each line in bits per character, then the line.

    Gzip files are unpacked. Lines of any length are scored in full. Printed lines are truncated at
    1 MiB or 65,536 tokens, and with --whole at 256 characters. A truncated line ends with …; in
    JSON it has "truncated": true.
    """
    from charnn.commands.threads import core_count, set_up_numpy

    set_up_numpy(1)
    from charnn.commands.score_output import (
        InputCounts,
        Layout,
        LineAccumulator,
        token_rows,
        tokens_of,
    )
    from charnn.display.messages import Display
    from charnn.display.progress import byte_progress
    from charnn.evaluation.suffix_array import TextIndex

    display = Display(quiet=quiet)
    opened, names = _model_and_files(argument, files, model, runs_dir, display)
    loaded = opened.file
    dataset = _dataset(loaded, data_dir) if adapt or overlap else None
    output = Output()
    announce(opened, display)
    has_color = output.has_color if color == "auto" else color == "always"
    safe = output.is_terminal if raw is None else not raw
    layout = Layout(json, per_token, has_color, safe, bits == "total", min_chars)
    learned = dataset if adapt else None
    scorer = _scorer(loaded, learned, carry=state == "carry", threads=threads or core_count())
    texts = dataset.texts("train") if dataset and overlap else None
    del dataset, learned  # once its text has been read, its memory is free for the index
    index = TextIndex(texts) if texts else None
    line = LineAccumulator(scorer, index, with_tokens=layout.needs_tokens, whole=not lines)
    counts = InputCounts(loaded.tokenizer, whole=not lines)
    # On a terminal, the live line would be among the results.
    with byte_progress(Display(quiet=quiet or output.is_terminal), "scoring") as progress:
        for name in names or [STDIN]:
            number = 0  # line number
            for parts in _parts(name, display, progress, lines=lines):
                for scored in scorer.score(parts):
                    number += scored.part.begins
                    counts.add(scored)
                    if per_token and not json:
                        output.write(token_rows(number, tokens_of(scorer, scored)))
                    elif (row := line.add(scored)) and layout.is_shown(row):
                        named = dataclasses.replace(row, line=number, file=name)
                        output.write(layout.rendered(named))
                output.flush()
    if summary := counts.summary():
        display.note(summary)
    return 0


def _scorer(
    model: "ModelFile", dataset: "Dataset | None", *, carry: bool, threads: int
) -> "Scorer":
    """Return a scorer with the weights of the model; with a dataset, they are updated."""
    from charnn.evaluation.surprisal import Scorer
    from charnn.model.numpy_model import NumpyModel

    reader: Reader | None = None
    if dataset:
        from charnn.evaluation.dynamic_evaluation import learning_reader

        reader = learning_reader(model, dataset.split("train"))
    return Scorer(
        NumpyModel(model.config, model.tensors),
        model.tokenizer,
        model.start_token,
        unknown_model=model.unknown_model,
        carry=carry,
        reader=reader,
        threads=threads,
    )


def _model_and_files(
    argument: str | None,
    files: list[str] | None,
    model: str | None,
    runs_dir: Path,
    display: "Display",
) -> tuple["OpenModel", list[str]]:
    models, names = models_and_files(argument, files, model, runs_dir, display)
    if len(models) > 1:
        raise UsageError(
            "score takes only one model",
            "charnn eval compares models; with -m MODEL all arguments are text files",
        )
    return models[0], names


def _parts(
    name: str, display: "Display", progress: Callable[[int, int], None], *, lines: bool
) -> Iterator[list["Part"]]:
    """Yield the text of a file as it arrives, in lines or as a whole; report the bytes read."""
    from charnn.data.gzip_stream import unpacked_if_gzip
    from charnn.evaluation import line_reader

    with _opened(name, display) as descriptor:
        size = os.fstat(descriptor).st_size  # 0 of a pipe
        chunks = line_reader.chunks_of(descriptor)
        if size:
            chunks = _counted(chunks, size, progress)
        chunks = unpacked_if_gzip(chunks, name)
        if lines:
            yield from line_reader.lines(chunks, lambda: line_reader.is_ready(descriptor))
        else:
            yield from line_reader.whole_text(chunks)


def _counted(
    chunks: Iterator[bytes], size: int, progress: Callable[[int, int], None]
) -> Iterator[bytes]:
    """Yield the chunks of a file; report the bytes that have been scored.

    The lines of the last ENOUGH bytes are still to be scored when the next chunk is read.
    """
    from charnn.evaluation.line_reader import ENOUGH

    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if done > ENOUGH:
            progress(done - ENOUGH, max(done, size))


@contextlib.contextmanager
def _opened(name: str, display: "Display") -> Iterator[int]:
    from charnn.errors import StorageError
    from charnn.storage.atomic import storage_errors

    if name == STDIN:
        if sys.stdin is None:
            raise StorageError("cannot read standard input: it is closed", "name a file")
        options.hint_at_terminal([name], display)
        yield sys.stdin.fileno()
    else:
        with storage_errors("read", Path(name)), Path(name).open("rb") as file:
            yield file.fileno()


def _dataset(model: "ModelFile", datasets: Path) -> "Dataset":
    """Open the dataset that the model was trained on."""
    from charnn.data.dataset import find_dataset_of

    return find_dataset_of(model.fingerprint, datasets)

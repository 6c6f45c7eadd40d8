"""`charnn score`: the surprisal of each line of a text."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charnn.commands import options
from charnn.config import STDIN
from charnn.display.stdout import Output

if TYPE_CHECKING:
    from charnn.data.dataset import Dataset
    from charnn.display.messages import Display
    from charnn.evaluation.line_reader import Part
    from charnn.evaluation.surprisal import Reader
    from charnn.model.model_file import ModelFile

Color = Literal["auto", "always", "never"]


@options.command()
def score(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL [FILE]",
            help="A run, a model file, or nothing for the newest; then files instead of stdin.",
            show_default=False,
        ),
    ] = None,
    model: options.ModelName = None,
    lines: Annotated[
        bool, typer.Option("--lines/--whole", help="A row for each line, or one for all the text.")
    ] = True,
    state: Annotated[
        Literal["reset", "carry"],
        typer.Option(help="Whether a line is read on its own, or after those before it."),
    ] = "reset",
    per_token: Annotated[
        bool, typer.Option("--per-token", help="A row for each token: line, bits, token.")
    ] = False,
    color: Annotated[
        Color, typer.Option(help="Show surprisal as color; auto: only on a terminal.")
    ] = "never",
    overlap: Annotated[
        bool,
        typer.Option(
            "--overlap", help="Add the longest piece copied from the training text, in characters."
        ),
    ] = False,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Let the model learn from what it has scored.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json/--tsv", help="One JSON object a line, or bits per char and text")
    ] = False,
    threads: Annotated[
        int | None,
        options.train_option("threads", "Groups of lines read at once; default: all cores."),
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    quiet: options.Quiet = False,
) -> int:
    """Say how surprising each line is: bits per character, then the line.

    A line of any length is scored, and put out up to 1 MiB or 65,536 tokens.
    What is cut ends with …, and has "truncated": true in JSON.
    With --whole a long text is put out as its first 256 characters.
    """
    from charnn.commands.threads import core_count, set_up_numpy

    set_up_numpy(1)
    from charnn.commands.score_output import Layout, LineAccumulator, token_rows, tokens_of
    from charnn.display.messages import Display
    from charnn.evaluation.suffix_array import TextIndex
    from charnn.evaluation.surprisal import Scorer
    from charnn.model.numpy_model import NumpyModel

    _, loaded, names = options.model_and_files(arguments, model, runs_dir)
    dataset = _dataset(loaded, data_dir) if adapt or overlap else None
    output, display = Output(), Display(quiet=quiet)
    has_color = output.has_color if color == "auto" else color == "always"
    layout = Layout(json, per_token, has_color, output.is_terminal)
    reader: Reader | None = None
    if dataset and adapt:
        from charnn.evaluation.dynamic_evaluation import learning_reader

        reader = learning_reader(loaded, dataset.split("train"))
    scorer = Scorer(
        NumpyModel(loaded.config, loaded.tensors),
        loaded.tokenizer,
        loaded.start_token,
        carry=state == "carry",
        reader=reader,
        threads=threads or core_count(),
    )
    index = TextIndex(dataset.text("train")) if dataset and overlap else None
    line = LineAccumulator(scorer, index, with_tokens=layout.needs_tokens, whole=not lines)
    number = 0  # of the line
    for parts in _parts(names or [STDIN], display, lines=lines):
        for scored in scorer.score(parts):
            number += scored.part.begins
            if per_token and not json:
                output.write(token_rows(number, tokens_of(scorer, scored)))
            elif row := line.add(scored):
                output.write(layout.rendered(row))
        output.flush()
    return 0


def _parts(names: list[str], display: "Display", *, lines: bool) -> Iterator[list["Part"]]:
    """Yield the text of each file as it arrives, in lines or as a whole."""
    from charnn.evaluation import line_reader

    for name in names:
        with _opened(name, display) as descriptor:
            chunks = line_reader.chunks_of(descriptor)
            if lines:
                yield from line_reader.lines(chunks, lambda: line_reader.is_ready(descriptor))
            else:
                yield from line_reader.whole_text(chunks)


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

"""`charnn eval`: loss of a model on a split or on any text."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charnn.commands import options
from charnn.config import PrepareConfig, flag, validate
from charnn.errors import UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.arrays import Ids
    from charnn.data.dataset import Dataset
    from charnn.display.messages import Display
    from charnn.evaluation.metrics import Score
    from charnn.model.device import Arithmetic
    from charnn.model.model_file import ModelFile

DECODING = ("newlines", "encoding", "errors")  # settings that decide how a file becomes text


@options.command(PrepareConfig, DECODING)
def evaluate(
    *,
    context: typer.Context,
    argument: options.ModelArgument = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Text files to evaluate instead of a split."),
    ] = None,
    model: options.ModelOption = None,
    split: Annotated[
        Literal["val", "test", "train"], typer.Option(help="Split of the model's dataset.")
    ] = "val",
    windows: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate windows of N tokens, each from a zero state."),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(min=1, help="Split the text into N parallel streams; 1 = exact."),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Update the weights on each segment after scoring it.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune the rates of --dynamic on the validation split.")
    ] = False,
    given: options.Given,
    device: options.Device = "auto",
    threads: options.Threads = None,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Compute loss, perplexity and bits per character of a split or a text."""
    from charnn.commands.threads import set_up_torch
    from charnn.data.dataset import find_dataset_of
    from charnn.display.messages import Display

    set_up_torch()
    if dynamic and (windows or streams):
        raise UsageError("--dynamic is one carried pass", "leave out --windows and --streams")
    if windows and streams:
        raise UsageError("--windows are cold; --streams are of the carried pass", "leave one out")
    if tune and not dynamic:
        raise UsageError("--tune chooses the rates of --dynamic", "add --dynamic")
    decoding = validate(PrepareConfig, given)
    display = Display(quiet=quiet)
    path, loaded, names = options.model_and_files(argument, files, model, runs_dir)
    if loaded.tokenizer.reads_bytes and given.keys() & {"encoding", "errors"}:
        raise UsageError("a model of bytes decodes nothing", "leave out --encoding and --errors")
    if given and not names:
        raise UsageError(f"{', '.join(map(flag, given))}: only of a text", "name a file too")
    if dynamic or not names:
        dataset = find_dataset_of(loaded.fingerprint, data_dir)
    if names:
        label, tokens = ", ".join(names), _tokens_of_files(loaded, names, decoding, display)
    else:
        label, tokens = split, dataset.split(split)
    arithmetic = _arithmetic(device, threads)
    if dynamic:
        score, protocol = _score_dynamic(loaded, dataset, tokens, arithmetic, display, tune=tune)
    else:
        score, protocol = _score(loaded, tokens, windows, streams, arithmetic)
    result = {
        "model": workspace.model_name(path),
        "text": label,
        "protocol": protocol,
        **score.as_dict(),
    }
    _report(result, json=json)
    name = workspace.model_argument(path, runs_dir)
    display.hint(f"next: {options.next_command(context, 'charnn', 'sample', name)}")
    return 0


def _tokens_of_files(
    model: "ModelFile", names: list[str], config: PrepareConfig, display: "Display"
) -> "Ids":
    from charnn.data.charset import read_text
    from charnn.data.sources import read_sources

    options.hint_at_terminal(names, display)
    reading = read_sources(names)
    config = config.model_copy(update={"tokenizer": model.tokenizer.kind})
    text, report = read_text(reading.sources, config)
    for note in (*reading.notes, *report.notes):
        display.note(note)
    return model.tokenizer.encode(text).ids


def _arithmetic(device: str, threads: int | None) -> "Arithmetic":
    from charnn.model.device import Arithmetic, choose_device, configure

    configure(threads, deterministic=False)
    return Arithmetic(choose_device(device), "float32")


def _score(
    loaded: "ModelFile",
    tokens: "Ids",
    windows: int | None,
    streams: int | None,
    arithmetic: "Arithmetic",
) -> tuple["Score", str]:
    from charnn.evaluation.evaluate import default_streams, evaluate_carried, evaluate_windows
    from charnn.evaluation.metrics import TokenLengths
    from charnn.model.language_model import with_weights

    model = with_weights(loaded).to(arithmetic.device)
    lengths = TokenLengths.of(loaded.tokenizer)
    if windows:
        return evaluate_windows(model, tokens, lengths, windows), f"windows:{windows}"
    streams = streams or default_streams(len(tokens))
    return evaluate_carried(model, tokens, lengths, loaded.start_token, streams), "carried"


def _score_dynamic(
    loaded: "ModelFile",
    dataset: "Dataset",
    tokens: "Ids",
    arithmetic: "Arithmetic",
    display: "Display",
    *,
    tune: bool,
) -> tuple["Score", str]:
    from charnn.evaluation import dynamic_evaluation
    from charnn.evaluation.metrics import TokenLengths
    from charnn.model.language_model import with_weights

    model = with_weights(loaded).to(arithmetic.device)
    lengths, start_token = TokenLengths.of(loaded.tokenizer), loaded.start_token
    rates = dynamic_evaluation.Rates()
    sizes = dynamic_evaluation.gradient_sizes(
        model, dataset.split("train"), lengths.unk_id, rates.segment
    )
    if tune:
        part = dataset.split("val")[: dynamic_evaluation.TUNED_ON]
        rates = dynamic_evaluation.tune(
            lambda tried: dynamic_evaluation.evaluate_dynamic(
                model, part, lengths, start_token, sizes, tried
            )
        )
        display.note(f"tuned on {len(part):,} tokens: lr {rates.lr:g}, decay {rates.decay:g}")
    return dynamic_evaluation.evaluate_dynamic(
        model, tokens, lengths, start_token, sizes, rates
    ), "dynamic"


def _report(result: dict[str, "str | float"], *, json: bool) -> None:
    from charnn.display.stdout import Output, print_json
    from charnn.escape import visible

    if json:
        print_json(result)
        return
    output = Output()
    for name, value in result.items():
        figure = f"{value:.4f}" if isinstance(value, float) else str(value)
        output.line(f"{name:<14} {visible(figure, one_line=True)}")
    output.flush()

"""`charnn eval`: loss of a model on a split or on any text."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from charnn.commands import options
from charnn.commands.model_arguments import announce, models_and_files
from charnn.config import PrepareConfig, flag, validate
from charnn.errors import UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.arrays import Ids
    from charnn.data.dataset import Dataset
    from charnn.display.messages import Display
    from charnn.evaluation.metrics import Score, TokenLengths
    from charnn.model.device import Arithmetic
    from charnn.model.model_file import ModelFile

RANKED_BY = "bits_per_char"  # if all models cover the same part of the text
PROTOCOLS = {
    "carried": "one pass, state carried",
    "windows": "independent windows",
    "dynamic": "one pass, weights updated",
    "records": "state reset at each record",
}
DECODING = ("newlines", "encoding", "errors")  # settings that decide how a file becomes text


@options.command(PrepareConfig, DECODING)
def evaluate(
    *,
    context: typer.Context,
    argument: options.ModelArgument = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help="More models; or text files, joined, to evaluate instead of a split.",
        ),
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
        bool,
        typer.Option(
            "--tune", help="Tune the rates of --dynamic at the start of the validation split."
        ),
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
    from charnn.display.messages import Display

    set_up_torch()
    request = Request(split, windows, streams, dynamic, tune, validate(PrepareConfig, given), [])
    request.check()
    display = Display(quiet=quiet)
    models, names = models_and_files(argument, files, model, runs_dir, display)
    if given and not names:
        raise UsageError(
            f"{', '.join(map(flag, given))} can be used only with text files", "name a text file"
        )
    request = dataclasses.replace(request, names=names)
    for opened in models:
        announce(opened, display)
        request.check_model(opened.file, given)
    files_of_models = [opened.file for opened in models]
    datasets = _open_datasets(files_of_models, request, data_dir)
    if not names:
        _compare_texts(list(datasets.values()), split, display)
    texts = _texts(files_of_models, datasets, request, display)
    arithmetic = _arithmetic(device, threads)
    results = [
        {
            "model": opened.name,
            **_evaluate(
                opened.file,
                datasets.get(opened.file.fingerprint),
                text,
                request,
                arithmetic,
                display,
            ),
        }
        for opened, text in zip(models, texts, strict=True)
    ]
    _report(results, json=json)
    ranked = _ranked_by(results)
    if len(results) > 1 and ranked != RANKED_BY:
        display.note(f"the models cover different parts of the text: compare {ranked}")
    best = models[min(range(len(models)), key=lambda index: results[index][ranked])]
    name = workspace.model_argument(best.path, runs_dir)
    display.hint(f"next: {options.next_command(context, 'charnn', 'sample', name)}")
    return 0


@dataclass(frozen=True)
class Request:
    """What to evaluate, and how: the text files `names` or, if there are none, `split`."""

    split: str
    windows: int | None
    streams: int | None
    dynamic: bool
    tune: bool
    decoding: PrepareConfig
    names: list[str]

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        if self.dynamic and (self.windows or self.streams):
            raise UsageError(
                "--dynamic cannot be combined with --windows or --streams", "leave out one of them"
            )
        if self.windows and self.streams:
            raise UsageError("--windows cannot be combined with --streams", "leave out one of them")
        if self.tune and not self.dynamic:
            raise UsageError("--tune needs --dynamic", "add --dynamic")

    def check_model(self, model: "ModelFile", given: Mapping[str, Any]) -> None:
        """Raise UsageError for options that do not apply to a model."""
        if model.tokenizer.kind == "byte" and given.keys() & {"encoding", "errors"}:
            raise UsageError(
                "--encoding and --errors do not apply to a byte model", "leave them out"
            )
        if model.records and (self.windows or self.streams):
            raise UsageError(
                "--windows and --streams do not apply to a model of records, which are read one by "
                "one",
                "leave them out",
            )


class Text(NamedTuple):
    """A text in the tokens of one model, and their lengths."""

    tokens: "Ids"
    lengths: "TokenLengths"


def _open_datasets(
    models: Sequence["ModelFile"], request: Request, data_dir: Path
) -> dict[str, "Dataset"]:
    """Open the datasets of the models that the request needs, by fingerprint."""
    from charnn.data.dataset import find_dataset_of

    if request.names and not request.dynamic:
        return {}
    fingerprints = dict.fromkeys(model.fingerprint for model in models)
    return {wanted: find_dataset_of(wanted, data_dir) for wanted in fingerprints}


def _compare_texts(datasets: Sequence["Dataset"], split: str, display: "Display") -> None:
    """Print a note if the models are evaluated on different texts."""
    if all(dataset.has_text_of(datasets[0], split) for dataset in datasets[1:]):
        return
    names = ", ".join(dataset.name for dataset in datasets)
    display.note(
        f"different texts: each model is evaluated on the {split} split of its own dataset "
        f"({names})"
    )
    display.hint("compare them on one text: charnn eval MODEL MODEL FILE")


def _evaluate(
    model: "ModelFile",
    dataset: "Dataset | None",
    text: Text,
    request: Request,
    arithmetic: "Arithmetic",
    display: "Display",
) -> dict[str, Any]:
    """Return the name of the text, the protocol and the scores of a model."""
    from charnn.model.device import memory_explained

    label, tuned_on = ", ".join(request.names) or request.split, 0
    with memory_explained("in the evaluation", "use --streams 1, or --device cpu"):
        if request.dynamic:
            assert dataset is not None
            tuned_on = _tuned_on(dataset) if request.tune else 0
            if not request.names and request.split == "val" and tuned_on:
                text = text._replace(tokens=text.tokens[tuned_on:])
                label = f"val after token {tuned_on:,}"
            score = _score_dynamic(model, dataset, text, arithmetic, display, tuned_on)
            protocol = "dynamic"
        else:
            score, protocol = _score(model, text, request.windows, request.streams, arithmetic)
    return {"text": label, "protocol": protocol, **score.as_dict()}


def _tuned_on(dataset: "Dataset") -> int:
    """Return the number of tokens at the start of the validation split to tune rates on."""
    from charnn.evaluation.dynamic_evaluation import tuning_tokens

    end = dataset.start_token if dataset.records else None
    return tuning_tokens(dataset.split("val"), end)


def _texts(
    models: Sequence["ModelFile"],
    datasets: Mapping[str, "Dataset"],
    request: Request,
    display: "Display",
) -> list[Text]:
    """Return the text in the tokens of each model. Files are read once, and noted once."""
    from charnn.data.charset import read_text
    from charnn.data.sources import read_sources
    from charnn.data.splits import end_with_newline
    from charnn.evaluation.metrics import TokenLengths
    from charnn.tokenizers.unknown_model import cost_of

    if not request.names:
        return [
            _text_of_split(model, datasets[model.fingerprint], request.split) for model in models
        ]
    options.hint_at_terminal(request.names, display)
    reading = read_sources(request.names)
    notes = [reading.summary()] if reading.skipped() else []
    notes += reading.notes
    texts = []
    for model in models:
        config = request.decoding.model_copy(update={"tokenizer": model.tokenizer.kind})
        text, report = read_text(reading.sources, config)
        notes += report.notes
        tokenizer = model.tokenizer
        encoded = (
            tokenizer.encode_records(end_with_newline(text))
            if model.records
            else tokenizer.encode(text)
        )
        symbols = {symbol: len(offsets) for symbol, offsets in encoded.unknown.items()}
        unknown = cost_of(symbols, model.unknown_model)
        texts.append(Text(encoded.ids, TokenLengths.of(tokenizer, unknown)))
    for note in dict.fromkeys(notes):
        display.note(note)
    return texts


def _text_of_split(model: "ModelFile", dataset: "Dataset", split: str) -> Text:
    """Return a split of the dataset of a model."""
    from charnn.evaluation.metrics import TokenLengths
    from charnn.tokenizers.unknown_model import UnknownCost

    tokens, unknown = dataset.split(split), dataset.unknown_cost(split)
    if model.unknown_model is None:  # an older file has no probabilities of unknown symbols
        unknown = UnknownCost(unknown.chars)
    return Text(tokens, TokenLengths.of(model.tokenizer, unknown))


def _arithmetic(device: str, threads: int | None) -> "Arithmetic":
    from charnn.model.device import Arithmetic, choose_device, configure

    configure(threads, deterministic=False)
    return Arithmetic(choose_device(device), "float32")


def _score(
    loaded: "ModelFile",
    text: Text,
    windows: int | None,
    streams: int | None,
    arithmetic: "Arithmetic",
) -> tuple["Score", str]:
    from charnn.evaluation.evaluate import (
        default_streams,
        evaluate_carried,
        evaluate_windows,
        record_scores,
    )
    from charnn.evaluation.metrics import Score
    from charnn.model.language_model import with_weights

    model = with_weights(loaded).to(arithmetic.device)
    if loaded.records:
        return sum(record_scores(model, *text, loaded.start_token), Score()), "records"
    if windows:
        return evaluate_windows(model, *text, windows), f"windows:{windows}"
    streams = streams or default_streams(len(text.tokens))
    return evaluate_carried(model, *text, loaded.start_token, streams), "carried"


def _score_dynamic(
    loaded: "ModelFile",
    dataset: "Dataset",
    text: Text,
    arithmetic: "Arithmetic",
    display: "Display",
    tuned_on: int,
) -> "Score":
    from charnn.evaluation import dynamic_evaluation
    from charnn.model.language_model import with_weights

    model = with_weights(loaded).to(arithmetic.device)
    start_token, records = loaded.start_token, loaded.records
    rates = dynamic_evaluation.Rates()
    sizes = dynamic_evaluation.gradient_sizes(
        model,
        dataset.split("train"),
        text.lengths.unk_id,
        rates.segment,
        record_end=start_token if records else None,
    )
    if tuned_on:
        part = dataset.split("val")[:tuned_on]
        rates = dynamic_evaluation.tune(
            lambda tried: dynamic_evaluation.evaluate_dynamic(
                model, part, text.lengths, start_token, sizes, tried, records=records
            )
        )
        display.note(f"tuned on {len(part):,} tokens: lr {rates.lr:g}, decay {rates.decay:g}")
    return dynamic_evaluation.evaluate_dynamic(
        model, *text, start_token, sizes, rates, records=records
    )


def _report(results: Sequence[dict[str, Any]], *, json: bool) -> None:
    """Print the results: of one model as lines or an object, of several as a table or a list."""
    from charnn.display import humanize
    from charnn.display.messages import table
    from charnn.display.stdout import Output, print_json
    from charnn.escape import visible

    if json:
        print_json(results[0] if len(results) == 1 else {"models": results})
        return
    output = Output()
    rows = [[_cell(value) for value in result.values()] for result in results]
    if len(rows) > 1:
        output.line(table(list(results[0]), rows))
    else:
        width, coverage = max(map(len, results[0])), results[0]["coverage"]
        for name, cell in zip(results[0], rows[0], strict=True):
            meaning = PROTOCOLS.get(cell.partition(":")[0]) if name == "protocol" else None
            shown = f"{cell} ({meaning})" if meaning else cell
            if name == RANKED_BY:
                shown = humanize.covering(shown, coverage)
            output.line(f"{name:<{width}} {visible(shown, one_line=True)}")
    output.flush()


def _ranked_by(results: Sequence[dict[str, Any]]) -> str:
    """Return the metric that ranks models, which may cover different parts of the text."""
    is_known = all(math.isfinite(result["bits_per_char_all"]) for result in results)
    differ = len({result["coverage"] for result in results}) > 1
    return "bits_per_char_all" if differ and is_known else RANKED_BY


def _cell(value: str | float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)

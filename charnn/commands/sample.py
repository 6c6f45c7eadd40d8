"""`charnn sample`: text from a model."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options
from charnn.commands.model_arguments import announce
from charnn.commands.signals import Terminated
from charnn.config import STDIN, SampleConfig, UnknownName, validate
from charnn.errors import StorageError, UsageError

if TYPE_CHECKING:
    from charnn.arrays import Ids
    from charnn.commands.sample_output import SampleEvent, Selection, Show
    from charnn.display.messages import Display
    from charnn.generation.generate import Context
    from charnn.model.backend import ModelBackend
    from charnn.model.model_file import ModelFile
    from charnn.model.runs import OpenModel
    from charnn.tokenizers.tokenizer import Tokenizer

MAX_ATTEMPTS = 100  # samples generated at most for each one that --novel, --new, --unique keep


@options.command(SampleConfig)
def sample(
    *,
    model: options.ModelArgument = None,
    given: options.Given,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Prompt text.")] = None,
    prompt_file: Annotated[
        str | None, typer.Option(help="Read the prompt from a file; - is stdin.")
    ] = None,
    echo: Annotated[bool, typer.Option(help="Print the prompt before the generated text.")] = True,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help=options.described("Random seed.", "random, printed on stderr")),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 1,
    sep: Annotated[
        str,
        typer.Option(
            help=options.described("Separator between samples.", "newline"), show_default=False
        ),
    ] = "\n",
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Stop before this string; repeatable.", metavar="TEXT"),
    ] = None,
    ban: Annotated[
        str, typer.Option(help="Never generate these characters.", metavar="CHARS")
    ] = "",
    allow: Annotated[
        str | None, typer.Option(help="Generate only these characters.", metavar="CHARS")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="Constrain the sample to match this regular expression.", metavar="REGEX"
        ),
    ] = None,
    raw: options.Raw = None,
    json: options.Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object per sample.")
    ] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="End each sample with a NUL byte.")
    ] = False,
    unk: Annotated[
        UnknownName, typer.Option(help="Action for out-of-vocabulary symbols in the prompt.")
    ] = "error",
    state: Annotated[
        Path | None,
        typer.Option(help="Continue from a state written by --save-state.", metavar="FILE"),
    ] = None,
    save_state: Annotated[
        Path | None,
        typer.Option(help="Write the final generation state to this file.", metavar="FILE"),
    ] = None,
    novel: Annotated[
        int | None,
        typer.Option(
            min=1, help="Drop samples that copy N consecutive characters from the corpus."
        ),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Drop samples that equal a line of the training text.")
    ] = False,
    unique: Annotated[bool, typer.Option("--unique", help="Drop repeated samples.")] = False,
    unbuffered: Annotated[
        bool, typer.Option("--unbuffered", help="Write each token immediately, even to a pipe.")
    ] = False,
    device: Annotated[
        str, options.train_option("device", "Device: cpu (NumPy), or cuda or mps (PyTorch).")
    ] = "cpu",
    threads: Annotated[int | None, options.train_option("threads", default="all but one")] = None,
    data_dir: options.DataDir = options.DATA_DIR,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    quiet: options.Quiet = False,
) -> int:
    """Generate text from a model."""
    config = validate(SampleConfig, given)
    is_selective = bool(novel or new or unique)
    _check(config, samples, save_state, is_selective=is_selective, json=json, jsonl=jsonl)
    from charnn.commands.threads import set_up_numpy

    set_up_numpy(threads)
    from charnn.commands import sample_output
    from charnn.display.messages import Display
    from charnn.generation import generate
    from charnn.generation.constraints import constrain

    display = Display(quiet=quiet)
    opened = _opened(model, runs_dir)
    loaded = opened.file
    tokenizer = loaded.tokenizer
    network = _network(loaded, device)
    chosen = None if state or seed is not None else int.from_bytes(os.urandom(4), "little")
    announce(opened, display, chosen)
    _check_characters(tokenizer, display, ban=ban, allow=allow, stop="".join(stop or ()))
    context = _initial_context(loaded, network, state, chosen if seed is None else seed)
    text = _prompt(prompt, prompt_file, display)
    if text:
        ids = generate.encode_prompt(tokenizer, text, unk)
        context = generate.feed(network, context, ids)
        text = _without_skipped(tokenizer, text, ids, unk, display)
    shown = text if echo else ""
    if allow is not None and loaded.records:
        allow += "\n"  # ends a record
    wanted, attempts = _counts(config, samples, display, is_selective=is_selective)
    request = generate.Request(
        config=config,
        constraint=constrain(
            *(tokenizer.pieces, tokenizer.unk_id), ban=ban, allow=allow, match=match, prompt=shown
        ),
        seed=context.seed,
        samples=attempts,
        stop=loaded.stops(stop or ()),
        loss=json or jsonl,
        records=loaded.records,
    )
    in_flight = min(wanted, generate.BATCH if device == "cpu" else generate.BATCH_ON_GPU)
    events: Iterable[SampleEvent] = generate.generate(
        network, tokenizer, request, context, in_flight
    )
    if save_state:
        events = _saving(events, save_state, loaded.sha256)
    selection = None
    if is_selective:
        selection = _selection(loaded, wanted, data_dir, novel=novel, new=new, unique=unique)
    with _reported(selection, display) as show:
        if selection:
            events = selection.among(events, shown, show)
        if json or jsonl:
            sample_output.write_json(events, shown, request.seed, one_object=json, samples=samples)
        else:
            style = sample_output.Style(shown, "\0" if null else sep, raw, null, unbuffered)
            sample_output.write_text(events, style)
    return 0


def _opened(model: str | None, runs_dir: Path) -> "OpenModel":
    """Open the model; if no model has this name, point out how a prompt is given."""
    from charnn.model.runs import open_model

    try:
        return open_model(model, runs_dir)
    except UsageError as error:
        if model is None or os.path.lexists(model):
            raise
        raise UsageError(error.message, f"{error.hint} (for a prompt use -p)") from None


def _check(
    config: SampleConfig,
    samples: int,
    save_state: Path | None,
    *,
    is_selective: bool,
    json: bool,
    jsonl: bool,
) -> None:
    """Raise UsageError for options that exclude each other, before anything is loaded."""
    if json and jsonl:
        raise UsageError("--json and --jsonl cannot be combined", "leave one of them out")
    unlimited = config.max_new_tokens < 0
    if unlimited and samples > 1:
        raise UsageError(
            "--samples needs a length limit, but -n -1 is unlimited", "set -n to a length"
        )
    if unlimited and is_selective:
        raise UsageError(
            "--novel, --new and --unique need a length limit, but -n -1 is unlimited",
            "set -n to a length",
        )
    if save_state and (samples > 1 or is_selective):
        raise UsageError(
            "--save-state needs a single sample",
            "leave out --samples, --novel, --new and --unique",
        )
    if save_state and save_state.is_dir():
        raise StorageError(f"cannot write {save_state}: it is a folder", "name a file in it")
    if save_state and not save_state.parent.is_dir():
        raise StorageError(
            f"cannot write {save_state}: the folder does not exist", "create the folder first"
        )


def _check_characters(
    tokenizer: "Tokenizer", display: "Display", *, ban: str, allow: str | None, stop: str
) -> None:
    """Print which characters of --ban, --allow and --stop are not in the vocabulary.

    Raise UsageError if --allow leaves no character to generate.
    """
    from charnn.generation.constraints import never_generated

    impossible = never_generated(tokenizer.pieces, tokenizer.unk_id, ban + (allow or "") + stop)
    if allow is not None and not set(allow) - set(ban) - impossible:
        raise UsageError(
            f"--allow {allow!r} leaves no character to generate",
            "name characters that are in the vocabulary (charnn info shows it) and not in --ban",
        )
    for name, characters in (("ban", ban), ("allow", allow or ""), ("stop", stop)):
        if unknown := "".join(c for c in dict.fromkeys(characters) if c in impossible):
            display.note(f"--{name}: not in the vocabulary: {unknown!r}")


def _counts(
    config: SampleConfig, samples: int, display: "Display", *, is_selective: bool
) -> tuple[int, int]:
    """Return the number of samples to keep, and the number to generate at most.

    Greedy decoding gives the same text each time, so that one sample is enough.
    """
    if config.temperature > 0:
        return samples, samples * (MAX_ATTEMPTS if is_selective else 1)
    if samples > 1:
        display.note(f"all samples are the same at --temp 0: generating 1 instead of {samples:,}")
    return 1, 1


@contextlib.contextmanager
def _reported(selection: "Selection | None", display: "Display") -> Iterator["Show"]:
    """Yield a function that shows the progress; print how many samples were dropped at the end.

    The progress is shown if only stderr is a terminal. An interruption prints the count, too. Warn
    if too few samples were kept.
    """
    from charnn.display.messages import Display
    from charnn.display.progress import status_line
    from charnn.display.stdout import Output

    is_silent = display.quiet or not display.is_terminal or Output().is_terminal or not selection
    try:
        with status_line(Display(quiet=is_silent)) as show:
            yield show
    except (KeyboardInterrupt, Terminated):
        if selection:
            display.note(selection.summary())
        raise
    if selection and selection.kept < selection.wanted:
        display.warning(selection.summary())
        display.hint("a higher --temp gives more different samples")
    elif selection and selection.dropped:
        display.note(selection.summary())


def _network(model: "ModelFile", device: str) -> "ModelBackend":
    if device == "cpu":
        from charnn.model.numpy_model import NumpyModel

        return NumpyModel(model.config, model.tensors)
    from charnn.model.device import choose_device
    from charnn.model.language_model import with_weights
    from charnn.model.torch_backend import TorchModel

    return TorchModel(with_weights(model).to(choose_device(device)))


def _initial_context(
    model: "ModelFile",
    network: "ModelBackend",
    state: Path | None,
    seed: int | None,
) -> "Context":
    """Return the context before the prompt: a new one, or that of --state.

    With --state the random numbers continue unless a seed is given.
    """
    from charnn.generation.generate import initial_context

    if state:
        from charnn.generation.state_file import read_state

        context = read_state(state, network, model.sha256)
        return context if seed is None else context._replace(seed=seed, drawn=0)
    assert seed is not None
    return initial_context(network, model.start_token)._replace(seed=seed)


def _saving(events: Iterable["SampleEvent"], path: Path, sha256: str) -> Iterator["SampleEvent"]:
    """Yield the events of a single sample; its state is saved before its end is passed on."""
    from charnn.generation.generate import Sample
    from charnn.generation.state_file import write_state

    for event in events:
        if isinstance(event, Sample):
            assert event.context
            write_state(path, event.context, sha256)
        yield event


def _selection(
    model: "ModelFile",
    wanted: int,
    datasets: Path,
    *,
    novel: int | None,
    new: bool,
    unique: bool,
) -> "Selection":
    """Return the tests that --novel, --new and --unique ask for."""
    from charnn.commands.sample_output import Selection, Unrepeated
    from charnn.data.dataset import find_dataset_of

    tests: dict[str, Callable[[str], bool]] = {}
    dataset = find_dataset_of(model.fingerprint, datasets) if novel or new else None
    lines = set(dataset.text("train").splitlines()) if dataset and new else set[str]()
    if dataset and novel:
        from charnn.evaluation.ngram_index import NgramIndex

        texts = dataset.texts("train")
        del dataset  # once its text has been read, its memory is free for the index
        index = NgramIndex(texts, novel)
        tests[f"copied {novel} characters or more"] = lambda sample: not index.is_copied(sample)
    if new:
        tests["in the training text"] = lambda sample: sample.strip("\n") not in lines
    if unique:
        tests["repeated"] = Unrepeated()
    return Selection(tests, wanted)


def _without_skipped(
    tokenizer: "Tokenizer", text: str, ids: "Ids", unk: UnknownName, display: "Display"
) -> str:
    """Return the prompt as the model reads it: without the symbols that --unk skip leaves out."""
    if unk != "skip":
        return text
    skipped = len(tokenizer.encode(text).ids) - len(ids)
    if not skipped:
        return text
    symbols = f"symbol{'' if skipped == 1 else 's'}"
    display.note(f"{skipped:,} out-of-vocabulary {symbols} of the prompt skipped")
    return tokenizer.decode(ids.tolist()).decode("utf-8", "replace")


def _prompt(prompt: str | None, prompt_file: str | None, display: "Display") -> str:
    """Return the prompt; bytes that are not UTF-8 are lone surrogates, refused when encoded."""
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file cannot be combined", "leave out one of them")
    if prompt_file is None:
        return prompt or ""
    if prompt_file == STDIN:
        from charnn.data.sources import read_stdin

        options.hint_at_terminal([prompt_file], display)
        data = read_stdin()
    else:
        from charnn.storage.atomic import read_bytes

        data = read_bytes(Path(prompt_file))
    return data.decode("utf-8", "surrogateescape")

"""`charnn sample`: text from a model."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charnn.commands import options
from charnn.commands.model_arguments import announce
from charnn.config import STDIN, SampleConfig, UnknownName, validate
from charnn.errors import StorageError, UsageError
from charnn.storage import workspace

if TYPE_CHECKING:
    from charnn.commands.sample_output import Novel, SampleEvent
    from charnn.display.messages import Display
    from charnn.generation.generate import Context
    from charnn.model.backend import ModelBackend
    from charnn.model.model_file import ModelFile


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
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--safe",
            help=options.described(
                "Write exact bytes, or escape control characters.", "safe on a terminal"
            ),
        ),
    ] = None,
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
        typer.Option(min=1, help="Drop samples that copy N characters in a row from the corpus."),
    ] = None,
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
    _check(config, samples, save_state, novel)
    from charnn.commands.threads import set_up_numpy

    set_up_numpy(threads)
    from charnn.commands import sample_output
    from charnn.display.messages import Display
    from charnn.generation import generate
    from charnn.generation.constraints import constrain
    from charnn.model.model_file import read_model

    display = Display(quiet=quiet)
    path = workspace.find_model(model, runs_dir)
    loaded = read_model(path)
    tokenizer = loaded.tokenizer
    constraint = constrain(tokenizer.pieces, tokenizer.unk_id, ban=ban, allow=allow, match=match)
    network = _network(loaded, device)
    chosen = None if state or seed is not None else int.from_bytes(os.urandom(4), "little")
    announce(path, loaded, display, chosen)
    context = _initial_context(loaded, network, state, chosen if seed is None else seed)
    text = _prompt(prompt, prompt_file, display)
    if text:
        ids = generate.encode_prompt(tokenizer, text, unk)
        context = generate.feed(network, context, ids)
    request = generate.Request(
        config=config,
        constraint=constraint,
        seed=context.seed,
        samples=samples,
        stop=loaded.stops(stop or ()),
        loss=json or jsonl,
    )
    in_flight = generate.BATCH if device == "cpu" else generate.BATCH_ON_GPU
    events: Iterable[SampleEvent] = generate.generate(
        network, tokenizer, request, context, in_flight
    )
    if save_state:
        events = _saving(events, save_state, loaded.sha256)
    novelty = _novelty_filter(loaded, novel, data_dir) if novel else None
    events = novelty.among(events) if novelty else events
    shown = text if echo else ""
    if json or jsonl:
        sample_output.write_json(events, shown, request.seed, one_object=json and samples > 1)
    else:
        style = sample_output.Style(shown, "\0" if null else sep, raw, null, unbuffered)
        sample_output.write_text(events, style)
    if novelty and novelty.dropped:
        display.note(
            f"{novelty.dropped} of {samples} samples dropped: not new for {novel} characters"
        )
    return 0


def _check(config: SampleConfig, samples: int, save_state: Path | None, novel: int | None) -> None:
    """Raise UsageError for options that exclude each other, before anything is loaded."""
    endless = config.max_new_tokens < 0
    if endless and samples > 1:
        raise UsageError("-n -1 never ends, so there is no second sample", "leave out --samples")
    if endless and novel:
        raise UsageError("-n -1 never ends, so --novel cannot judge it", "give -n")
    if save_state and samples > 1:
        raise UsageError(f"--save-state of {samples} samples: which of them?", "one --samples")
    if save_state and save_state.is_dir():
        raise StorageError(f"cannot write {save_state}: it is a folder", "name a file in it")
    if save_state and not save_state.parent.is_dir():
        raise StorageError(f"cannot write {save_state}: there is no such folder", "make it first")


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


def _novelty_filter(model: "ModelFile", novel: int, datasets: Path) -> "Novel":
    from charnn.commands.sample_output import Novel
    from charnn.data.dataset import find_dataset_of
    from charnn.evaluation.suffix_array import TextIndex

    text = find_dataset_of(model.fingerprint, datasets).text("train")
    return Novel(TextIndex(text).longest, novel)


def _prompt(prompt: str | None, prompt_file: str | None, display: "Display") -> str:
    """Return the prompt; bytes that are not UTF-8 are lone surrogates, refused when encoded."""
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file both give the prompt", "leave one out")
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

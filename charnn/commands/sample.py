"""`charnn sample`: model → text on stdout."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charnn import workspace
from charnn.commands import options
from charnn.commands.options import option
from charnn.config import SampleConfig, validate
from charnn.errors import UsageError
from charnn.output import Output

if TYPE_CHECKING:
    from charnn.generation import Piece, Sample
    from charnn.model_file import ModelFile

Unknown = Literal["error", "skip", "replace"]


def sample(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A run, its folder, or a model file. Default: the newest.")
    ] = None,
    temperature: Annotated[float | None, option(SampleConfig, "temperature", "--temp")] = None,
    max_new_tokens: Annotated[int | None, option(SampleConfig, "max_new_tokens", "-n")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="Text to go on from.")
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option(help="File with the text to go on from; - is stdin.")
    ] = None,
    echo: Annotated[bool, typer.Option(help="Whether the prompt is part of the text.")] = True,
    top_k: Annotated[int | None, option(SampleConfig, "top_k")] = None,
    top_p: Annotated[float | None, option(SampleConfig, "top_p")] = None,
    min_p: Annotated[float | None, option(SampleConfig, "min_p")] = None,
    repetition_penalty: Annotated[float | None, option(SampleConfig, "repetition_penalty")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Same seed, same text.", show_default="random, told")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of samples.")] = 1,
    sep: Annotated[
        str, typer.Option(help="What stands between samples.", show_default="newline")
    ] = "\n",
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this string; may be repeated.")
    ] = None,
    ban: Annotated[str, typer.Option(help="Characters that may not occur.", metavar="CHARS")] = "",
    allow: Annotated[
        str | None, typer.Option(help="The only characters that may occur.", metavar="CHARS")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="Regular expression that the sample as a whole matches.", metavar="REGEX"
        ),
    ] = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--safe",
            help="Exact bytes everywhere, or control characters made visible everywhere.",
            show_default="safe on a terminal",
        ),
    ] = None,
    json: options.Json = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a sample.")] = False,
    null: Annotated[bool, typer.Option("-0", "--null", help="End each sample with NUL.")] = False,
    unk: Annotated[
        Unknown, typer.Option(help="Symbols of the prompt that the model does not know.")
    ] = "error",
    unbuffered: Annotated[
        bool, typer.Option("--unbuffered", help="Write each token at once, also into a pipe.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: all but one.")
    ] = None,
    runs_dir: options.RunsDir = None,
    quiet: options.Quiet = False,
) -> int:
    """Stream text from a model."""
    config = validate(SampleConfig, options.given(context, SampleConfig))
    if config.max_new_tokens < 0 and samples > 1:
        raise UsageError("-n -1 never ends, so there is no second sample", "leave out --samples")
    from charnn.threads import set_up_numpy

    set_up_numpy(threads)
    from charnn import generation
    from charnn.constraints import constrain
    from charnn.model_file import read_model
    from charnn.stepper import Stepper

    loaded = read_model(workspace.find_model(model, workspace.runs_dir(runs_dir)))
    text = _prompt(prompt, prompt_file)
    pieces = loaded.tokenizer.pieces
    request = generation.Request(
        config=config,
        constraint=constrain(pieces, loaded.tokenizer.unk_id, ban=ban, allow=allow, match=match),
        seed=_seed(seed, quiet=quiet),
        samples=samples,
        stop=tuple(stop or ()) + (("\n",) if loaded.records else ()),
        raw=raw is True,
        loss=json or jsonl,
    )
    stepper = Stepper(loaded.config, loaded.tensors)
    opening = generation.opening(stepper, loaded.start_token)
    if text:
        ids = generation.encode_prompt(loaded.tokenizer, _for(loaded, text), unk)
        opening = generation.read(stepper, opening, ids)
    events = generation.generate(stepper, loaded.tokenizer, request, opening)
    shown = text if echo else ""
    if json or jsonl:
        _write_json(events, shown, request.seed, one_object=json and samples > 1)
    else:
        separator = "\0" if null else sep
        _write_text(events, shown, separator, raw=raw, null=null, unbuffered=unbuffered)
    return 0


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    """The prompt as text; bytes that are not UTF-8 become lone surrogates, and are named later."""
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file both give the prompt", "leave one out")
    if prompt_file is None:
        return prompt or ""
    import sys

    from charnn.files import read_bytes

    data = sys.stdin.buffer.read() if prompt_file == "-" else read_bytes(Path(prompt_file))
    return data.decode("utf-8", "surrogateescape")


def _for(model: "ModelFile", text: str) -> str | bytes:
    return text.encode("utf-8", "surrogateescape") if model.tokenizer.kind == "byte" else text


def _seed(given: int | None, *, quiet: bool) -> int:
    """The seed as given, or a new one, which is told so that the text can be had again."""
    if given is not None:
        return given
    from charnn.display import Display

    seed = int.from_bytes(os.urandom(4), "little")
    Display(quiet=quiet).note(f"seed {seed}")
    return seed


def _write_text(
    events: Iterable["Piece | Sample"],
    prompt: str,
    separator: str,
    *,
    raw: bool | None,
    null: bool,
    unbuffered: bool,
) -> None:
    """Samples as text, each with the prompt before it, separated, and a newline at the end."""
    from charnn.display import visible
    from charnn.generation import Piece

    output = Output(unbuffered=unbuffered)
    safe = output.is_terminal if raw is None else not raw
    last = ""

    def put(text: str) -> None:
        nonlocal last
        last = text or last
        output.write((visible(text) if safe else text).encode("utf-8", "surrogateescape"))

    current = -1
    for event in events:
        if event.index != current:
            current = event.index
            put(separator if current and not null else "")
            put(prompt)
        if isinstance(event, Piece):
            put(event.text)
        elif null:
            put(separator)
        if output.is_terminal or isinstance(event, Piece) is False:
            output.flush()
    if not (last.endswith("\n") or null or raw):
        put("\n")
    output.flush()


def _write_json(
    events: Iterable["Piece | Sample"], prompt: str, seed: int, *, one_object: bool
) -> None:
    """One object a sample as each is done, or all of them in one."""
    from charnn.files import to_json
    from charnn.generation import Piece

    output = Output()
    texts: dict[int, str] = {}
    done: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, Piece):
            texts[event.index] = texts.get(event.index, "") + event.text
            continue
        row = {
            "index": event.index,
            "seed": seed,
            "text": prompt + texts.pop(event.index, ""),
            "tokens": event.tokens,
            "loss": event.loss,
            "finish": event.finish,
        }
        if one_object:
            done.append(row)
        else:
            output.line(to_json(row))
            output.flush()
    if one_object:
        output.line(to_json({"seed": seed, "samples": done}))
    output.flush()

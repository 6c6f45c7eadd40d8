"""Rows I of the table of faults: stdout has the exact result, or the command fails."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from charnn.config import ModelConfig, SampleConfig
from charnn.generation.constraints import constrain
from charnn.generation.generate import Piece, Request, generate, initial_context
from charnn.model.model_file import ModelFile, read_model, write_model
from charnn.model.numpy_model import NumpyModel
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import Tokenizer, VocabularyOptions
from tests.shell.conftest import LAMP, Shell
from tests.tiny import random_tensors, tiny_config

MODEL = b"model lamp-lstm-001 (step "  # what `sample` prints on stderr if a seed is given
CURIOUS = "[bold]so[/x] \\[b] :smile: {curly} %s\t[link=x]" + "long " * 2000
NOT_A_TERMINAL = (
    {},
    {"TERM": "dumb"},
    {"NO_COLOR": ""},
    {"NO_COLOR": "1"},
    {"FORCE_COLOR": "1"},
    {"CLICOLOR_FORCE": "1", "TERM": "xterm-256color"},
)
DISORDER = b"\x1b]52;c;aGk=\x07\r\x9b2J\x00\xff"


def byte_model(path, favourites: bytes = b"") -> Tokenizer:
    """Write a byte-level model of random weights that generates mostly `favourites`."""
    tokenizer = ByteTokenizer()
    config = ModelConfig(hidden_size=8, embedding_dim=4, vocab_size=tokenizer.vocab_size)
    tensors = random_tensors(config)
    if favourites:
        tensors["output.bias"][:] = -100
        tensors["output.bias"][list(favourites)] = 0
    write_model(path, ModelFile(config, tokenizer, 10, tensors, metrics={"step": 1}))
    return tokenizer


@pytest.fixture
def runs(trained) -> Shell:
    """Return a shell in a folder with a dataset and a run."""
    return Shell(trained.folder)


def on_a_terminal(shell, *arguments) -> bytes:
    """Return what a command writes to a terminal on stdout; stderr is discarded."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell.command(*arguments),
        cwd=shell.folder,
        env=shell.environment(TERM="xterm"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # raised by Linux when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(30) == 0
    return shown


@pytest.mark.parametrize("reader", ["head -c 100", "true", "(read -r x; kill -9 $BASHPID)"])
def test_i1_a_broken_pipe_ends_the_command_silently(runs, reader) -> None:
    """141 at once, without a message; stderr has the line about the model only."""
    begin = time.monotonic()
    done = runs.bash(f"charnn sample -n -1 --seed 1 2>said | {reader}; echo ${{PIPESTATUS[0]}}")

    assert done.stdout.endswith(b"141\n")
    said = (runs.folder / "said").read_bytes()
    assert said.startswith(MODEL)
    assert said.count(b"\n") == 1
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("sample -n 100 --seed 1", ">/dev/full"),
        ("sample -n 100 --seed 1", ">&-"),
        ("info --json", ">/dev/full"),
        ("info --json", ">&-"),
        ("train --print-config", ">/dev/full"),
    ],
)
def test_i2_lost_output_is_74_with_one_message(runs, command, target) -> None:
    """A full device or a closed stdout is never a success."""
    done = runs.bash(f"charnn {command} {target}")

    assert done.returncode == 74
    assert done.stderr.count(b"charnn: error:") == 1
    assert b"Traceback" not in done.stderr


def test_i1_a_broken_pipe_during_help(shell) -> None:
    """As for any other output."""
    done = shell.bash("charnn --help | true")

    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_i2_a_non_blocking_pipe_loses_nothing(trained, runs) -> None:
    """On EAGAIN the command waits until there is room."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    size = "70000"
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        size = "7000"
    expected = trained.run("sample", "-n", size, "--seed", "1", "-q").stdout
    process = subprocess.Popen(
        runs.command("sample", "-n", size, "--seed", "1", "-q"),
        cwd=runs.folder,
        env=runs.environment(),
        stdout=writing,
    )
    os.close(writing)
    time.sleep(1)  # the pipe is full by now
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == expected
    assert process.wait(30) == 0


@pytest.mark.parametrize("environment", NOT_A_TERMINAL, ids=str)
def test_i3_no_control_codes_without_a_terminal(trained, monkeypatch, environment) -> None:
    """On stdout and stderr, for any environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for arguments in (
        ("sample", "-n", "50"),
        ("info",),
        ("plot",),
        ("sample", "nothing"),
        ("train", "--resume", "lamp-lstm-001", "--steps", "7"),
        ("prepare", "lamp.txt", "--force"),
    ):
        done = trained.run(*arguments, code=2 if "nothing" in arguments else 0)
        assert b"\x1b" not in done.stdout
        assert "\x1b" not in done.stderr
        assert "\r" not in done.stderr
        if arguments[0] == "prepare":
            assert done.stdout == b""  # progress goes to stderr


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "20"}], ids=str)
def test_i4_text_is_printed_unchanged(charnn, monkeypatch, environment) -> None:
    """Markup, backslashes and lines of 10 000 columns have no special meaning."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    byte_model(charnn.folder / "m.safetensors")
    for options in ((), ("--raw",)):
        done = charnn.run("sample", "m.safetensors", "-p", CURIOUS, "-n", "0", "-q", *options)
        assert done.stdout == CURIOUS.encode() + (b"" if options else b"\n")
    path = charnn.write("[bold]x[y].safetensors", (charnn.folder / "m.safetensors").read_bytes())
    assert path.stem in charnn.run("info", path.name).stdout.decode()
    charnn.refused("info", "[red]no[/]", code=74, said="[red]no[/]")


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=str,
)
def test_i5_text_is_utf8_in_any_locale(shell, environment) -> None:
    """In input, arguments and output."""
    byte_model(shell.folder / "m.safetensors")
    prompt = "河镇 naïve 👩"
    done = shell.run_program(
        *("sample", "m.safetensors", "-p", prompt, "-n", "0", "-q"), env=environment, text=False
    )

    assert done.stdout == prompt.encode() + b"\n"
    missing = shell.run_program("info", "渡口", code=2, env=environment, text=False)
    assert "渡口".encode() in missing.stderr or b"\\u6e21" in missing.stderr


@pytest.mark.parametrize("arguments", [[], ["-X", "utf8=0"], ["-E"]], ids=" ".join)
def test_i5_a_utf8_path_is_found_in_any_locale(shell, arguments) -> None:
    """By restarting Python in UTF-8 mode, at most once."""
    shell.write("café.txt", LAMP * 10)
    program = [sys.executable, *arguments, "-m", "charnn"]
    done = subprocess.run(
        [*program, *("prepare", "café.txt", "-q")],
        cwd=shell.folder,
        env=shell.environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode == 0) == (not arguments or arguments == ["-E"]), done.stderr
    assert (shell.folder / "data/café").is_dir() == (done.returncode == 0)
    assert b"Traceback" not in done.stderr


def test_i6_a_text_that_ends_within_a_character(charnn) -> None:
    """The rest becomes U+FFFD; with --raw the bytes are written."""
    path = charnn.folder / "m.safetensors"
    byte_model(path, b"\xf0\x9f")
    given = ("sample", "m.safetensors", "-n", "5", "--seed", "1", "-q")
    raw = charnn.run(*given, "--raw").stdout

    assert len(raw) == 5
    assert set(raw) <= set(b"\xf0\x9f")
    assert charnn.run(*given).stdout == raw.decode("utf-8", "replace").encode() + b"\n"


def test_i6_invalid_bytes_take_constant_time_per_token(charnn) -> None:
    """Bytes that cannot be decoded are not accumulated."""
    byte_model(charnn.folder / "m.safetensors", b"\xf0\x9f\x91")

    def seconds(count):
        begin = time.perf_counter()
        charnn.run("sample", "m.safetensors", "-n", str(count), "--seed", "1", "-q")
        return time.perf_counter() - begin

    seconds(10)
    short, long = seconds(2000), seconds(16_000)
    assert long < 24 * short  # 64 times if each token read all earlier ones


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_i7_streamed_text_equals_the_whole_text_decoded(kind) -> None:
    """For 2 500 random sequences of ids of each tokenizer, incomplete characters included."""
    text = LAMP + "é河👩 x"
    options = VocabularyOptions(vocab_size=300 if kind == "bpe" else None)
    tokenizer = TOKENIZERS[kind].build(text, options)
    shape = tiny_config("rnn", vocab_size=tokenizer.vocab_size)
    model = NumpyModel(shape, random_tensors(shape, scale=0))  # every token is equally likely
    request = Request(
        config=SampleConfig(temperature=1.0, max_new_tokens=20),
        constraint=constrain(tokenizer.pieces, tokenizer.unk_id),
        seed=1,
        samples=2500,
    )
    pieces: list[list[bytes]] = [[] for _ in range(request.samples)]
    for event in generate(model, tokenizer, request, initial_context(model, 0)):
        if isinstance(event, Piece):
            pieces[event.index].append(event.data)

    for sample in pieces:
        streamed = "".join([data.decode("utf-8", "replace") for data in sample])
        assert streamed == b"".join(sample).decode("utf-8", "replace")
    assert len({b"".join(sample) for sample in pieces}) > 2400


def test_i8_control_characters_are_escaped_on_a_terminal_and_exact_in_a_pipe(charnn) -> None:
    """ESC, OSC 52, BEL, CR, NUL and C1."""
    byte_model(charnn.folder / "m.safetensors", DISORDER)
    given = ("sample", "m.safetensors", "-n", "200", "--seed", "1", "-q")
    raw = charnn.run(*given, "--raw").stdout
    exact = charnn.run(*given).stdout
    shell = Shell(charnn.folder)
    shown = on_a_terminal(shell, *given)

    assert set(DISORDER) == set(raw)
    assert exact == raw.decode("utf-8", "replace").encode() + b"\n"
    assert b"\\x1b" in shown
    assert not any(byte < 32 for byte in shown.replace(b"\r\n", b""))
    assert charnn.run(*given, "--safe").stdout == shown.replace(b"\r\n", b"\n")
    assert b"\x1b" in on_a_terminal(shell, *given, "--raw")


def test_i9_json_output_is_always_valid(charnn) -> None:
    """Values that are not finite are null, names are escaped, each object is one line."""
    path = charnn.folder / 'odd "\n\x1b é.safetensors'
    byte_model(path, DISORDER)
    model = read_model(path)
    odd = {"loss": float("nan"), "worst": [float("inf")], "x": "\n\x1b"}
    write_model(path, type(model)(**{**vars(model), "metrics": odd}))
    told = json.loads(charnn.run("info", path.name, "--json").stdout)
    assert told["metrics"] == {"loss": None, "worst": [None], "x": "\n\x1b"}
    assert told["name"] == path.stem

    given = ("sample", path.name, "-n", "30", "--seed", "1", "-q")
    lines = charnn.run(*given, "--samples", "3", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]
    assert all(json.loads(line)["tokens"] == 30 for line in lines)
    empty = json.loads(charnn.run(*given[:2], "-n", "0", "--json", "-q").stdout)
    assert empty["loss"] is None


def test_i9_invalid_bytes_are_replaced_in_json(charnn) -> None:
    """--raw keeps them in text; JSON has U+FFFD, with and without --raw."""
    byte_model(charnn.folder / "m.safetensors")
    arguments = ("sample", "m.safetensors", "-n", "60", "--seed", "1", "-q")
    raw = charnn.run(*arguments, "--raw").stdout
    texts = [
        json.loads(charnn.run(*arguments, "--json", *options).stdout)["text"]
        for options in ([], ["--raw"])
    ]

    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    assert texts == [raw.decode("utf-8", "replace")] * 2


def test_i10_unbuffered_output_is_written_token_by_token(runs) -> None:
    """With --unbuffered into a pipe, and SIGTERM stops at once."""
    process = subprocess.Popen(
        runs.command("sample", "-n", "-1", "--seed", "1", "--unbuffered", "-q"),
        cwd=runs.folder,
        env=runs.environment(),
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    sizes = [len(os.read(process.stdout.fileno(), 64)) for _ in range(50)]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert all(sizes)
    assert process.returncode == 143


def test_i11_the_same_seed_gives_the_same_text(trained) -> None:
    """A random seed is printed on stderr, so that the text can be reproduced."""
    first = trained.run("sample", "-n", "60")
    seed = first.stderr.removeprefix("seed ").partition(",")[0]

    assert int(seed) >= 0
    for samples in ("1", "3"):
        given = ("sample", "-n", "60", "--seed", seed, "--samples", samples, "--sep", "")
        again = trained.run(*given)
        assert again.stdout.startswith(first.stdout.removesuffix(b"\n"))
        assert again.stdout == trained.run(*given).stdout
        assert again.stderr.encode().startswith(MODEL)
        assert again.stderr.count("\n") == 1

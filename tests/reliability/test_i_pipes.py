"""Rows I of the table of faults: what leaves on stdout is the result, to the byte, or an error."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from charnn.config import ModelConfig
from charnn.model.model_file import ModelFile, read_model, write_model
from charnn.tokenizers.tokenizer import TOKENIZERS, Tokenizer, build
from tests.shell.conftest import LAMP, Shell
from tests.tiny import random_tensors

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
    """A model of random weights over bytes, which writes `favourites` and little else."""
    tokenizer = build("byte", b"")
    config = ModelConfig(hidden_size=8, embedding_dim=4, vocab_size=tokenizer.vocab_size)
    tensors = random_tensors(config)
    if favourites:
        tensors["output.bias"][:] = -100
        tensors["output.bias"][list(favourites)] = 0
    write_model(path, ModelFile(config, tokenizer, 10, tensors, metrics={"step": 1}))
    return tokenizer


@pytest.fixture
def runs(trained) -> Shell:
    """Processes in a folder with a dataset and a run."""
    return Shell(trained.folder)


def on_a_terminal(shell, *arguments) -> bytes:
    """What a command writes to a terminal that is its stdout; stderr is elsewhere."""
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
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(30) == 0
    return shown


@pytest.mark.parametrize("reader", ["head -c 100", "true", "(read -r x; kill -9 $BASHPID)"])
def test_i1_a_reader_that_goes_away_ends_it_quietly(runs, reader) -> None:
    """141 at once, and nothing is said about it."""
    begin = time.monotonic()
    done = runs.bash(f"charnn sample -n -1 --seed 1 2>said | {reader}; echo ${{PIPESTATUS[0]}}")

    assert done.stdout.endswith(b"141\n")
    assert (runs.folder / "said").read_bytes() == b""
    assert time.monotonic() - begin < 20


COMMANDS = ("sample -n 100 --seed 1", "info --json", "train --print-config")


@pytest.mark.parametrize(
    "command", ["sample -n 100 --seed 1", "info --json", "train --print-config"]
)
@pytest.mark.parametrize("target", [">/dev/full", ">&-"])
def test_i2_lost_output_is_74_with_one_message(runs, command, target) -> None:
    """A full device or a closed stdout is never a success."""
    done = runs.bash(f"charnn {command} {target}")

    assert done.returncode == 74
    assert done.stderr.count(b"charnn: error:") == 1
    assert b"Traceback" not in done.stderr


def test_i1_a_reader_of_the_help_that_goes_away(shell) -> None:
    """As any other output does."""
    done = shell.bash("charnn --help | true")

    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_i2_a_pipe_that_does_not_block_loses_nothing(trained, runs) -> None:
    """EAGAIN: it waits until there is room."""
    expected = trained.run("sample", "-n", "70000", "--seed", "1", "-q").stdout
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = subprocess.Popen(
        runs.command("sample", "-n", "70000", "--seed", "1", "-q"),
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
def test_i3_no_control_codes_leave_where_nobody_looks(trained, monkeypatch, environment) -> None:
    """Neither among results nor among messages, whatever the environment says."""
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
        done = trained.run(*arguments, code=74 if "nothing" in arguments else 0)
        assert b"\x1b" not in done.stdout
        assert "\x1b" not in done.stderr
        assert "\r" not in done.stderr
        if arguments[0] in ("train", "prepare"):
            assert done.stdout == b""  # progress is no result


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "20"}], ids=str)
def test_i4_text_is_put_out_exactly_as_it_is(charnn, monkeypatch, environment) -> None:
    """Markup, backslashes and 10 000 columns without a newline mean nothing to us."""
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
def test_i5_text_is_utf8_whatever_the_locale(shell, environment) -> None:
    """On the way in, in the arguments, and on the way out."""
    byte_model(shell.folder / "m.safetensors")
    prompt = "河镇 naïve 👩"
    done = shell.run(
        *("sample", "m.safetensors", "-p", prompt, "-n", "0", "-q"), env=environment, text=False
    )

    assert done.stdout == prompt.encode() + b"\n"
    missing = shell.run("info", "渡口", code=74, env=environment, text=False)
    assert "渡口".encode() in missing.stderr or b"\\u6e21" in missing.stderr


@pytest.mark.parametrize("arguments", [[], ["-X", "utf8=0"], ["-E"]], ids=" ".join)
def test_i5_a_path_in_utf8_is_found_whatever_the_locale(shell, arguments) -> None:
    """By starting Python again in UTF-8; where that does not help, it is tried no second time."""
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


def test_i6_a_text_that_ends_inside_a_character(charnn) -> None:
    """Its rest is U+FFFD, or with --raw the bytes themselves."""
    path = charnn.folder / "m.safetensors"
    byte_model(path, b"\xf0\x9f")
    given = ("sample", "m.safetensors", "-n", "5", "--seed", "1", "-q")
    raw = charnn.run(*given, "--raw").stdout

    assert len(raw) == 5
    assert set(raw) <= set(b"\xf0\x9f")
    assert charnn.run(*given).stdout == raw.decode("utf-8", "replace").encode() + b"\n"


def test_i6_an_endless_run_of_invalid_bytes_takes_no_longer_per_token(charnn) -> None:
    """What cannot be decoded does not pile up."""
    byte_model(charnn.folder / "m.safetensors", b"\xf0\x9f\x91")

    def seconds(count):
        begin = time.perf_counter()
        charnn.run("sample", "m.safetensors", "-n", str(count), "--seed", "1", "-q")
        return time.perf_counter() - begin

    seconds(10)
    short, long = seconds(2000), seconds(16_000)
    assert long < 24 * short  # it would be 64 times if each token looked at all before it


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_i7_a_stream_is_the_text_decoded_at_once(kind) -> None:
    """For 2 500 random sequences of ids of each tokenizer, cut characters included."""
    text = LAMP + "é河👩 x"
    given = text.encode() if kind == "byte" else text
    tokenizer = build(kind, given, vocab_size=300 if kind == "bpe" else None)
    random = np.random.default_rng(1)
    for _ in range(2500):
        ids = random.integers(0, tokenizer.vocab_size, random.integers(0, 20)).tolist()
        decoder = tokenizer.decoder()
        streamed = "".join(map(decoder.feed, ids)) + decoder.flush()
        assert streamed == tokenizer.decode(ids).decode("utf-8", "replace")


def test_i8_what_could_steer_a_terminal_is_shown_there_and_exact_elsewhere(charnn) -> None:
    """ESC, OSC 52, BEL, CR, NUL and C1: visible on a terminal, the very bytes in a pipe."""
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


def test_i9_json_is_json_whatever_is_in_it(charnn) -> None:
    """Numbers that are not finite are null, odd names are escaped, each object is one line."""
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


def test_i9_bytes_that_are_no_text_are_marked_in_json(charnn) -> None:
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


def test_i10_each_token_can_be_seen_at_once(runs) -> None:
    """--unbuffered into a pipe: the text comes while it is being drawn, and a stop is prompt."""
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
    """And a seed that was made up is told on stderr, where it can be had again."""
    first = trained.run("sample", "-n", "60")
    seed = first.stderr.removeprefix("seed ").strip()

    assert int(seed) >= 0
    for samples in ("1", "3"):
        given = ("sample", "-n", "60", "--seed", seed, "--samples", samples, "--sep", "")
        again = trained.run(*given)
        assert again.stdout.startswith(first.stdout.removesuffix(b"\n"))
        assert again.stdout == trained.run(*given).stdout
        assert again.stderr == ""

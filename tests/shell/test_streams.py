"""Streams and exit codes: stdout is the result alone, and lost output is never a success."""

import json
import os
import subprocess

import pytest


def pipeline(shell, command, **environment):
    """A line of bash with pipefail in the working folder; `charnn` is the program."""
    charnn = " ".join(shell.command())
    script = f'set -o pipefail\ncharnn() {{ {charnn} "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=shell.folder,
        env=shell.environment(**environment),
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("reader", ["head -c 100", "true", "head -n 1"])
def test_i1_a_reader_that_goes_away_ends_it_quietly(trained, reader) -> None:
    """Exit code 141, and at most the line with the seed on stderr."""
    done = pipeline(trained, f"charnn sample -n -1 | {reader}")

    assert done.returncode == 141
    assert done.stderr.count(b"\n") <= 1
    assert done.stderr == b"" or done.stderr.startswith(b"seed ")


@pytest.mark.parametrize("command", ["sample -n 100 --seed 1", "corpora", "info --json"])
@pytest.mark.parametrize("target", [">/dev/full", ">&-"])
def test_i2_lost_output_is_74_with_one_message(trained, command, target) -> None:
    """A full device or a closed stdout is never exit code 0."""
    done = pipeline(trained, f"charnn {command} {target}")

    assert done.returncode == 74
    assert done.stderr.count(b"error") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"TERM": "xterm-256color"}],
    ids=str,
)
def test_i3_no_control_codes_leave_on_a_pipe(trained, environment) -> None:
    """Neither results nor messages have any, whatever the environment says."""
    for arguments in (("sample", "-n", "50"), ("info",), ("plot",), ("sample", "nothing")):
        code = 74 if "nothing" in arguments else 0
        done = trained.run(*arguments, code=code, env=environment)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\r" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=str,
)
def test_i5_text_is_utf8_whatever_the_locale(shell, environment) -> None:
    """Chinese goes in and comes out."""
    shell.write("zh.txt", "河镇没有桥的时候，就先有了渡口。\n" * 60)
    shell.run("prepare", "zh.txt", env=environment)
    shell.run("train", "--steps", "2", "--preset", "tiny", "-q", env=environment)
    done = shell.run("sample", "-p", "河镇", "-n", "20", env=environment)

    assert done.stdout.startswith("河镇")


def test_i9_json_lines_are_valid_and_each_has_its_keys(trained) -> None:
    """One object a line; --json prints exactly one."""
    lines = trained.run("sample", "--samples", "3", "-n", "30", "--jsonl", "--seed", "1").stdout
    rows = [json.loads(line) for line in lines.splitlines()]

    assert [row["index"] for row in rows] == [0, 1, 2]
    assert set(rows[0]) == {"index", "seed", "text", "tokens", "loss", "finish"}
    assert all(row["tokens"] == len(row["text"]) == 30 for row in rows)
    one = json.loads(trained.run("sample", "-n", "30", "--json", "--seed", "1").stdout)
    assert one["text"] == rows[0]["text"]


def test_i11_the_seed_that_was_used_gives_the_text_again(trained) -> None:
    """It is told on stderr, unless it was given."""
    first = trained.run("sample", "-n", "60")
    seed = first.stderr.removeprefix("seed ").strip()
    again = trained.run("sample", "-n", "60", "--seed", seed)

    assert again.stdout == first.stdout
    assert again.stderr == ""


def test_a_loop_over_lines_keeps_its_stdin(trained) -> None:
    """`while read` sees every line, for nothing reads stdin unasked."""
    command = (
        "printf 'a\\nb\\nc\\n' | while read x; do charnn sample -n 1 --seed 1 -q; done | wc -l"
    )
    assert pipeline(trained, command).stdout.strip() == b"3"


def test_a_prompt_from_stdin_is_read_when_asked_for(trained) -> None:
    """--prompt-file - goes on from what the pipe brings."""
    done = trained.run("sample", "--prompt-file", "-", "-n", "5", "--seed", "1", input="The lamp")

    assert done.stdout.startswith("The lamp")


def test_version_and_module_start(shell) -> None:
    """`python -m charnn --version` says what it is."""
    assert shell.run("--version").stdout.startswith("charnn ")
    assert "Usage" in shell.run("--help").stdout
    assert os.linesep in shell.run("sample", "--help").stdout

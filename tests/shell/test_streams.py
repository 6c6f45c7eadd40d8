"""Standard streams of commands: JSON, prompts from stdin, help, signals."""

import json
import os
import pty
import subprocess
import time


def test_sample_json_has_the_documented_keys(trained) -> None:
    """--jsonl prints one object per line, and --json one object."""
    lines = trained.run("sample", "--samples", "3", "-n", "30", "--jsonl", "--seed", "1").stdout
    rows = [json.loads(line) for line in lines.splitlines()]

    assert [row["index"] for row in rows] == [0, 1, 2]
    assert set(rows[0]) == {"index", "seed", "text", "tokens", "loss", "finish"}
    assert all(row["tokens"] == len(row["text"]) == 30 for row in rows)
    one = json.loads(trained.run("sample", "-n", "30", "--json", "--seed", "1").stdout)
    assert one["text"] == rows[0]["text"]


def test_sample_does_not_read_stdin_by_default(trained) -> None:
    """In a `while read` loop, the loop gets every line."""
    command = (
        "printf 'a\\nb\\nc\\n' | while read x; do charnn sample -n 1 --seed 1 -q; done | wc -l"
    )
    assert trained.bash(command).stdout.strip() == b"3"


def test_prompt_file_dash_reads_stdin(trained) -> None:
    """The sample continues the text from the pipe."""
    done = trained.run("sample", "--prompt-file", "-", "-n", "5", "--seed", "1", input="The lamp")

    assert done.stdout.startswith("The lamp")


def test_prompt_from_a_closed_stdin_is_an_error(trained) -> None:
    """The exit code is 74, and the message names standard input."""
    done = trained.bash("charnn sample --prompt-file - -n 3 <&-")

    assert done.returncode == 74
    assert b"standard input: it is closed" in done.stderr


def test_prompt_from_a_terminal_prints_a_hint(trained) -> None:
    """The hint says that Ctrl-D ends the input."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        trained.command("sample", "--prompt-file", "-", "-n", "3"),
        cwd=trained.folder,
        env=trained.environment(),
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.write(controller, b"The lamp\n\x04")
    _, errors = process.communicate(timeout=60)
    os.close(controller)
    os.close(terminal)

    assert process.returncode == 0
    assert b"Ctrl-D" in errors


def test_debug_can_be_a_value_or_an_argument(trained) -> None:
    """As the value of an option, or after `--`, it does not enable tracebacks."""
    prompt = trained.run("sample", "-n", "0", "-q", "--unk", "replace", "--json", "-p", "--debug")
    argument = trained.run("sample", "--", "--debug", code=2).stderr

    assert json.loads(prompt.stdout)["text"] == "--debug"
    assert "'--debug'" in argument
    assert "Traceback" not in argument


def test_quiet_is_accepted_by_every_command(trained) -> None:
    """Commands without hints accept it too, and print the same results."""
    for command in (("info", "lamp"), ("corpora",)):
        assert trained.run(*command, "-q").stdout == trained.run(*command).stdout


def test_version_and_help_of_the_module(shell) -> None:
    """`python -m charnn` accepts --version and --help."""
    assert shell.run_program("--version").stdout.startswith("charnn ")
    assert "Usage" in shell.run("--help").stdout
    assert os.linesep in shell.run_program("sample", "--help").stdout


def test_shell_completion_script_is_generated(trained) -> None:
    """The script is the one that `charnn --install-completion` installs."""
    environment = {**trained.environment(), "_CHARNN_COMPLETE": "source_bash"}
    script = subprocess.run(
        trained.command(), env=environment, capture_output=True, timeout=60, check=False
    )
    assert script.returncode == 0
    assert b"complete" in script.stdout


def test_sigterm_ends_a_sample_whose_reader_is_blocked(trained) -> None:
    """The first SIGTERM ends the process although its output is not read."""
    process = subprocess.Popen(
        trained.command("sample", "-n", "-1", "-q"),
        cwd=trained.folder,
        env=trained.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    process.stdout.read(1)
    time.sleep(2)  # the pipe is full by then
    process.terminate()
    try:
        assert process.wait(timeout=10) == 143
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_help_into_head_is_quiet(shell) -> None:
    """Its first line is the usage; 141 if the reader is gone before all is written."""
    done = shell.bash("charnn --help | head -1")

    assert done.stdout.decode().strip().startswith("Usage: charnn")
    assert done.stderr == b""
    assert done.returncode in (0, 141)

"""What commands read and write as processes: JSON, stdin when it is asked for, the module."""

import json
import os
import pty
import subprocess
import time


def test_json_has_the_keys_of_the_contract(trained) -> None:
    """One object a line; --json prints exactly one."""
    lines = trained.run("sample", "--samples", "3", "-n", "30", "--jsonl", "--seed", "1").stdout
    rows = [json.loads(line) for line in lines.splitlines()]

    assert [row["index"] for row in rows] == [0, 1, 2]
    assert set(rows[0]) == {"index", "seed", "text", "tokens", "loss", "finish"}
    assert all(row["tokens"] == len(row["text"]) == 30 for row in rows)
    one = json.loads(trained.run("sample", "-n", "30", "--json", "--seed", "1").stdout)
    assert one["text"] == rows[0]["text"]


def test_a_loop_over_lines_keeps_its_stdin(trained) -> None:
    """`while read` sees every line, for nothing reads stdin unasked."""
    command = (
        "printf 'a\\nb\\nc\\n' | while read x; do charnn sample -n 1 --seed 1 -q; done | wc -l"
    )
    assert trained.bash(command).stdout.strip() == b"3"


def test_a_prompt_from_stdin_is_read_when_asked_for(trained) -> None:
    """--prompt-file - goes on from what the pipe brings."""
    done = trained.run("sample", "--prompt-file", "-", "-n", "5", "--seed", "1", input="The lamp")

    assert done.stdout.startswith("The lamp")


def test_a_prompt_from_a_closed_stdin_is_refused(trained) -> None:
    """With 74, not with a traceback."""
    done = trained.bash("charnn sample --prompt-file - -n 3 <&-")

    assert done.returncode == 74
    assert b"standard input is closed" in done.stderr


def test_a_prompt_from_a_terminal_is_waited_for_with_a_hint(trained) -> None:
    """How it ends is not known to everybody."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        trained.command("sample", "--prompt-file", "-", "-n", "3"),
        cwd=trained.folder,
        env=trained.environment(),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.write(ours, b"The lamp\n\x04")
    _, said = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert process.returncode == 0
    assert b"Ctrl-D" in said


def test_debug_may_be_the_value_of_an_option(trained) -> None:
    """After `--` it is an argument."""
    prompt = trained.run("sample", "-n", "0", "-q", "--unk", "skip", "--json", "-p", "--debug")
    behind = trained.run("sample", "--", "--debug", code=2).stderr

    assert json.loads(prompt.stdout)["text"] == "--debug"
    assert "'--debug'" in behind
    assert "Traceback" not in behind


def test_quiet_is_taken_everywhere(trained) -> None:
    """So that a script can give it to each command."""
    for command in (("info", "lamp"), ("corpora",)):
        assert trained.run(*command, "-q").stdout == trained.run(*command).stdout


def test_version_and_module_start(shell) -> None:
    """`python -m charnn --version` says what it is."""
    assert shell.run("--version").stdout.startswith("charnn ")
    assert "Usage" in shell.run("--help").stdout
    assert os.linesep in shell.run("sample", "--help").stdout


def test_shell_completion_can_be_had(trained) -> None:
    """As `charnn --install-completion` puts it into a shell, and as the shell asks for it."""
    environment = {**trained.environment(), "_CHARNN_COMPLETE": "source_bash"}
    script = subprocess.run(
        trained.command(), env=environment, capture_output=True, timeout=60, check=False
    )
    assert script.returncode == 0
    assert b"complete" in script.stdout


def test_a_reader_that_is_stuck_does_not_keep_a_sample_from_ending(trained) -> None:
    """The first SIGTERM ends it, though nobody takes what it would write."""
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

"""What commands read and write as processes: JSON, stdin when it is asked for, the module."""

import json
import os


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


def test_version_and_module_start(shell) -> None:
    """`python -m charnn --version` says what it is."""
    assert shell.run("--version").stdout.startswith("charnn ")
    assert "Usage" in shell.run("--help").stdout
    assert os.linesep in shell.run("sample", "--help").stdout

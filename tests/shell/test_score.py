"""`charnn score` as a filter: rows, order, digits, colours, trickling input, long lines, memory."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charnn.commands import score_output
from tests.shell.conftest import LAMP

LINES = LAMP.splitlines()


def rows(done):
    return [line.split("\t", 1) for line in done.stdout.splitlines()]


def test_a_row_a_line_in_order(trained) -> None:
    """Bits per character with four decimals, a tab, the line."""
    done = trained.run("score", "-q", input=LAMP)

    assert [text for _, text in rows(done)] == LINES
    assert all(len(bits.partition(".")[2]) == 4 for bits, _ in rows(done))
    assert done.stderr == ""


def test_files_stdin_and_last_lines_without_an_end_are_the_same(trained, tmp_path) -> None:
    """`score MODEL FILE`, `score -m MODEL FILE`, `score < FILE`."""
    path = tmp_path / "lines.txt"
    path.write_text(LAMP.rstrip("\n"))
    expected = trained.run("score", input=LAMP).stdout

    assert trained.run("score", "lamp-lstm-001", path).stdout == expected
    assert trained.run("score", "-m", "lamp-lstm-001", path, path).stdout == expected * 2
    assert trained.run("score", "lamp-lstm-001", "-", input=LAMP.rstrip("\n")).stdout == expected


def test_no_printed_digit_depends_on_what_is_scored_together(trained) -> None:
    """A line alone, among 200 others, on one thread or three."""
    lines = [LINES[i % 3][: 5 + i % 50] for i in range(200)]
    together = trained.run("score", "--json", "--threads", "3", input="\n".join(lines)).stdout
    for index in (0, 7, 199):
        alone = trained.run("score", "--json", "--threads", "1", input=lines[index]).stdout
        row = together.splitlines(keepends=True)[index]
        assert alone == row.replace(f'"line": {index + 1},', '"line": 1,')


def test_json_has_the_keys_of_the_contract(trained) -> None:
    """Also for a line without a single known symbol, whose numbers are null."""
    done = trained.run("score", "--json", input="The lamp\n§§\n\n")
    objects = [json.loads(line) for line in done.stdout.splitlines()]

    assert [set(row) for row in objects] == [
        {"line", "file", "loss", "perplexity", "bits_per_char", "tokens", "unknown", "text"}
    ] * 3
    assert [(row["tokens"], row["unknown"]) for row in objects] == [(8, 0), (0, 2), (0, 0)]
    assert objects[1]["loss"] is None
    assert [row["text"] for row in objects] == ["The lamp", "§§", ""]


def test_whole_is_one_row_and_agrees_with_eval(trained, tmp_path) -> None:
    """The same text by another way: torch, and one pass over a file."""
    path = tmp_path / "whole.txt"
    path.write_text(LAMP)
    whole = trained.run("score", "--whole", "--json", input=LAMP).stdout
    evaluated = trained.run("eval", "lamp-lstm-001", path, "--json", "--streams", "1").stdout

    assert json.loads(whole)["loss"] == pytest.approx(json.loads(evaluated)["loss"], abs=1e-4)
    assert trained.run("score", "--whole", input=LAMP).stdout.count("\n") == 1


def test_carry_reads_on_from_line_to_line(trained) -> None:
    """The first line has nothing before it; the sum over lines knows more than resets do."""
    reset, carry = (
        [
            json.loads(line)
            for line in trained.run("score", "--json", "--state", s, input=LAMP).stdout.splitlines()
        ]
        for s in ("reset", "carry")
    )

    assert carry[0]["loss"] == pytest.approx(reset[0]["loss"], abs=1e-4)
    assert carry[1]["loss"] != pytest.approx(reset[1]["loss"], abs=1e-4)


def test_a_row_a_token(trained) -> None:
    """Line, bits, token; they sum to the line's bits, and a control character stays one row."""
    done = trained.run("score", "--per-token", input="The\tlamp\nx\n")
    table = [line.split("\t") for line in done.stdout.splitlines()]

    assert [row[0] for row in table] == ["1"] * 8 + ["2"]
    assert [row[2] for row in table] == [*"The", r"\t", *"lamp", "x"]
    known = [float(row[1]) for row in table[:8] if row[1] != "-"]
    line = json.loads(trained.run("score", "--json", input="The\tlamp\n").stdout)
    assert sum(known) / len(known) == pytest.approx(line["bits_per_char"], abs=1e-3)
    assert len(known) == line["tokens"]


def test_colour_only_where_it_is_seen_or_asked_for(trained) -> None:
    """--color auto is plain in a pipe, always is not; the text without its codes is the text."""
    assert "\x1b" not in trained.run("score", "--color", "auto", input=LAMP).stdout
    assert "\x1b" not in trained.run("score", "--color", "never", input=LAMP).stdout
    painted = trained.run("score", "--color=always", input=LAMP, env={"NO_COLOR": "1"}).stdout

    for _, style in score_output.LEVELS:
        painted = painted.replace(style, "") if style else painted
    assert painted.replace(score_output.RESET, "") == trained.run("score", input=LAMP).stdout


@pytest.mark.parametrize(("kind", "has_color"), [("xterm-256color", True), ("dumb", False)])
def test_colour_is_for_terminals_that_have_it(trained, kind, has_color) -> None:
    """A terminal with TERM=dumb gets the text alone."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        trained.command("score", "--color", "auto"),
        cwd=trained.folder,
        env=trained.environment(TERM=kind),
        input=b"qqqqzzzz jjjj\n",
        stdout=theirs,
        check=False,
        timeout=60,
    )
    shown = os.read(ours, 10_000)
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 0
    assert (b"\x1b" in shown) == has_color


def test_overlap_is_the_longest_copy(trained) -> None:
    """A line of the corpus is copied as a whole, another one up to where it differs."""
    done = trained.run("score", "--overlap", input=f"{LINES[0]}\nThe lamp on the #\n")

    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == [str(len(LINES[0])), "16"]


def test_novel_drops_what_is_copied(trained) -> None:
    """And says how many samples that were."""
    plain = trained.run("sample", "--samples", "4", "-n", "30", "--seed", "1", "--jsonl")
    kept = trained.run(
        "sample", "--samples", "4", "-n", "30", "--seed", "1", "--jsonl", "--novel", "31"
    )
    none = trained.run("sample", "--samples", "4", "-n", "30", "--seed", "1", "--novel", "1")

    assert kept.stdout == plain.stdout
    assert none.stdout == ""
    assert "0 of 4 samples after 400 attempts" in none.stderr


def test_adapting_learns_from_what_it_has_read(trained) -> None:
    """The same line again is less surprising; the model file stays as it was."""
    path = trained.folder / "runs" / "lamp-lstm-001" / "model.safetensors"
    before = path.read_bytes()
    line = "xylophone zebra quartz\n"
    bits = [float(row[0]) for row in rows(trained.run("score", "--adapt", input=line * 30))]

    assert bits[-1] < bits[0]
    assert path.read_bytes() == before


def test_a_line_comes_out_before_the_next_goes_in(trained) -> None:
    """So that `tail -f log | charnn score | awk` shows what happens as it happens."""
    process = subprocess.Popen(
        trained.command("score"),
        cwd=trained.folder,
        env=trained.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in LINES:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(line.encode() + b"\n")
    process.stdin.close()
    process.stdout.close()
    assert process.wait(20) == 0


def test_tail_score_awk(trained) -> None:
    """The pipe of the manual, with a log that goes on being written."""
    log = trained.write("talk.log", "")
    charnn = " ".join(trained.command("score", "lamp-lstm-001"))
    pipe = subprocess.Popen(
        ["bash", "-c", f"tail -f talk.log | {charnn} | awk '$1 > 2 {{ print; exit }}'"],
        cwd=trained.folder,
        env=trained.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with log.open("a") as file:
        for line in ("The lamp on the stair will not\n", "qqqqzzzz jjjj\n", "lit\n") * 100:
            file.write(line)
            file.flush()
            time.sleep(0.1)
            if select.select([pipe.stdout], [], [], 0)[0]:
                break
    assert pipe.stdout.readline().endswith(b"\tqqqqzzzz jjjj\n")
    pipe.stdout.close()
    os.killpg(pipe.pid, signal.SIGKILL)
    pipe.wait(20)


def test_a_long_line_is_one_row_with_all_of_its_text(trained) -> None:
    """It is read in pieces, and passed on; what the model does not know in it too."""
    text = LINES[0] * 2000 + "§"
    row = json.loads(trained.run("score", "--json", input=text).stdout)

    assert (row["tokens"], row["unknown"]) == (len(text) - 1, 1)
    assert row["text"] == text
    assert "truncated" not in row
    assert trained.run("score", input=text).stdout.partition("\t")[2] == text + "\n"


def test_a_longer_line_is_cut_and_says_so(trained) -> None:
    """After 1 MiB, between characters, and with a mark; all of it is scored."""
    text = "é" * ((1 << 19) + 1) + "The"
    row = json.loads(trained.run("score", "--json", input="a" + text).stdout)

    assert row["tokens"] + row["unknown"] == len(text) + 1
    assert row["text"] == "a" + "é" * ((1 << 19) - 1) + "…"
    assert row["truncated"] is True
    assert trained.run("score", input=text).stdout.endswith("\t" + "é" * (1 << 19) + "…\n")


def test_tokens_of_a_long_line_are_kept_up_to_a_limit(trained) -> None:
    """In colour and in JSON; a symbol that is not known is shown as it is."""
    text = ("§" + LINES[0]) * 1000
    painted = trained.run("score", "--color=always", input=text).stdout
    row = json.loads(trained.run("score", "--json", "--per-token", input=text).stdout)
    for _, style in (*score_output.LEVELS, (0, score_output.UNKNOWN), (0, score_output.RESET)):
        painted = painted.replace(style, "") if style else painted

    assert painted.partition("\t")[2] == text[: 1 << 16] + "…\n"
    assert "".join(token["token"] for token in row["per_token"]) == text[: 1 << 16]
    assert row["text"] == text
    assert row["truncated"] is True


def test_a_long_text_as_a_whole_is_shown_by_its_beginning(trained) -> None:
    """Of any length: it is read in pieces."""
    text = LAMP * 1000
    row = json.loads(trained.run("score", "--json", "--whole", input=text).stdout)

    assert row["tokens"] == len(text)
    assert row["text"] == text[:256] + "…"
    assert row["truncated"] is True


def test_bytes_that_are_no_text_pass_through(trained) -> None:
    """In a pipe the line is exact, whatever the model makes of it."""
    line = b"The \xff\xfe lamp\x1b[31m\r"
    done = trained.run("score", input=line + b"\n", text=False)

    assert done.stdout.split(b"\t", 1)[1] == line + b"\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "no model"),
        (["lamp-lstm-001", "nothing.txt"], 74, "nothing.txt"),
        (["nothing", "lamp.txt"], 2, "the first argument is a model, files follow"),
        (["lamp-lstm-001", "lamp-lstm-001"], 2, "one model"),
        (["lamp-lstm-001", "."], 74, "directory"),
        (["--state", "sometimes"], 2, "sometimes"),
        (["--overlap", "--data-dir", "nowhere"], 65, "dataset"),
    ],
    ids=str,
)
def test_bad_input_has_its_code(trained, arguments, code, message) -> None:
    """One message on stderr, nothing on stdout."""
    done = trained.run("score", *arguments, code=code, input="x\n")

    assert message in done.stderr
    assert done.stderr.count("charnn: error:") == 1
    assert done.stdout == ""


def test_streams_that_end_early(trained) -> None:
    """The reader that goes away, the full disk, the closed stdin."""
    trained.write("many.txt", LAMP * 3000)

    assert trained.bash("charnn score -m lamp-lstm-001 many.txt | head -n 1").returncode == 141
    assert trained.bash("charnn score < lamp.txt >/dev/full").returncode == 74
    assert trained.bash("charnn score < lamp.txt >&-").returncode == 74
    closed = trained.bash("charnn score <&-")
    assert closed.returncode == 74
    assert b"Traceback" not in closed.stderr


@pytest.mark.slow
def test_a_gigabyte_takes_little_memory(trained) -> None:
    """The first 20 seconds of it: half a line of any length, half short lines."""
    script = (
        "import sys, time\nend = time.time() + 20\n"
        "while time.time() < end:\n"
        "    sys.stdout.write('The lamp on the stair ' * 9 + '\\n' * (time.time() > end - 10))"
    )
    feeder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process = subprocess.Popen(
        trained.command("score"),
        cwd=trained.folder,
        env=trained.environment(),
        stdin=feeder.stdout,
        stdout=subprocess.DEVNULL,
    )
    feeder.stdout.close()
    most = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        sizes = [line.split()[1] for line in status if line.startswith("VmHWM")]
        most = max(most, *map(int, sizes or [0]))
        time.sleep(0.2)
    feeder.wait()

    assert process.returncode == 0
    assert most < 300_000, f"{most} kB"


def test_it_needs_no_terminal_to_be_interrupted(trained) -> None:
    """SIGINT ends it with 130 and without a traceback."""
    reader, writer = os.pipe()
    waiting = subprocess.Popen(
        trained.command("score"),
        cwd=trained.folder,
        env=trained.environment(),
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    time.sleep(1.5)
    waiting.send_signal(2)
    _, errors = waiting.communicate(timeout=20)
    os.close(reader)
    os.close(writer)
    assert waiting.returncode == 130
    assert b"Traceback" not in errors


def test_rows_name_line_and_file(trained) -> None:
    """Lines are counted in each file; standard input is `-`."""
    trained.write("two.txt", "The lamp\nThe sea\n")
    done = trained.run("score", "lamp-lstm-001", "two.txt", "two.txt", "--json", "-q")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    piped = trained.run("score", "--json", "-q", input="x\n")

    assert [(row["line"], row["file"]) for row in rows] == [(1, "two.txt"), (2, "two.txt")] * 2
    assert json.loads(piped.stdout)["file"] == "-"


def test_a_line_of_unknown_characters_is_infinitely_surprising(trained) -> None:
    """It sorts first with `sort -rg`; an empty line has no number."""
    done = trained.run("score", "-q", input="The lamp\n€€€\n\n")

    assert [row.split("\t")[0] for row in done.stdout.splitlines()][1:] == ["inf", "-"]


def test_bits_in_total(trained) -> None:
    """The first column is bits per character times characters."""
    text = "The lamp\nThe sea, said the keeper\n"
    ratio = [float(row.split()[0]) for row in trained.run("score", input=text).stdout.splitlines()]
    total = trained.run("score", "--bits", "total", input=text).stdout.splitlines()

    for row, line, bits in zip(total, text.splitlines(), ratio, strict=True):
        assert float(row.split()[0]) == pytest.approx(bits * len(line), abs=0.01)


def test_short_lines_are_left_out(trained) -> None:
    """--min-chars counts characters, known and unknown; line numbers stay those of the text."""
    done = trained.run("score", "--min-chars", "3", "--json", "-q", input="ab\n€€c\nThe\n")

    assert [json.loads(row)["line"] for row in done.stdout.splitlines()] == [2, 3]


def test_safe_escapes_control_characters_in_a_pipe(trained) -> None:
    """--raw is the default there."""
    line = "The \x1b[31mlamp\n"

    assert "\x1b" in trained.run("score", input=line).stdout
    assert "\\x1b[31m" in trained.run("score", "--safe", input=line).stdout

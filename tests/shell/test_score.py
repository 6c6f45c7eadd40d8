"""`charnn score` as a filter: rows, order, JSON, colors, streaming, long lines, memory."""

import gzip
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


def test_one_row_per_line_in_order(trained) -> None:
    """A row is bits per character with four decimals, a tab, and the line."""
    done = trained.run("score", "-q", input=LAMP)

    assert [text for _, text in rows(done)] == LINES
    assert all(len(bits.partition(".")[2]) == 4 for bits, _ in rows(done))
    assert done.stderr == ""


def test_files_and_stdin_give_the_same_rows(trained, tmp_path) -> None:
    """The last line may lack a newline, and several files are scored in order."""
    path = tmp_path / "lines.txt"
    path.write_text(LAMP.rstrip("\n"))
    expected = trained.run("score", input=LAMP).stdout

    assert trained.run("score", "lamp-lstm-001", path).stdout == expected
    assert trained.run("score", "-m", "lamp-lstm-001", path, path).stdout == expected * 2
    assert trained.run("score", "lamp-lstm-001", "-", input=LAMP.rstrip("\n")).stdout == expected


def test_gzip_file_gives_the_rows_of_its_text(trained, tmp_path) -> None:
    """A file is unpacked whatever its name; a truncated one is refused."""
    path, cut = tmp_path / "old.log.1", tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(LAMP.encode()))
    cut.write_bytes(path.read_bytes()[:-5])

    assert (
        trained.run("score", "lamp-lstm-001", path).stdout
        == trained.run("score", input=LAMP).stdout
    )
    refused = trained.run("score", "lamp-lstm-001", cut, code=65)
    assert "cut.gz is not a valid gzip file: file is truncated" in refused.stderr


def test_row_does_not_depend_on_other_lines_or_threads(trained) -> None:
    """A line alone and among 200 lines on three threads gives the same digits."""
    lines = [LINES[i % 3][: 5 + i % 50] for i in range(200)]
    together = trained.run("score", "--json", "--threads", "3", input="\n".join(lines)).stdout
    for index in (0, 7, 199):
        alone = trained.run("score", "--json", "--threads", "1", input=lines[index]).stdout
        row = together.splitlines(keepends=True)[index]
        assert alone == row.replace(f'"line": {index + 1},', '"line": 1,')


def test_json_has_the_documented_keys(trained) -> None:
    """The loss of a line of out-of-vocabulary symbols is null, its total is not."""
    done = trained.run("score", "--json", input="The lamp\n§§\n\n")
    objects = [json.loads(line) for line in done.stdout.splitlines()]

    assert [set(row) for row in objects] == [
        {"line", "file", "loss", "perplexity", "bits_per_char", "bits", "tokens", "unknown", "text"}
        | {"coverage", "bits_per_char_all"}
    ] * 3
    assert [(row["tokens"], row["unknown"]) for row in objects] == [(8, 0), (0, 2), (0, 0)]
    assert [row["coverage"] for row in objects] == [1, 0, 1]
    for row in objects[:2]:
        assert row["bits"] == pytest.approx(row["bits_per_char_all"] * len(row["text"]))
    assert [row["loss"] for row in objects[1:]] == [None, None]
    assert objects[2]["bits"] is None
    assert [row["text"] for row in objects] == ["The lamp", "§§", ""]


def test_whole_text_is_one_row_and_agrees_with_eval(trained, tmp_path) -> None:
    """`eval` computes the loss with torch in one pass."""
    path = tmp_path / "whole.txt"
    path.write_text(LAMP)
    scored = trained.run("score", "--whole", "--json", input=LAMP).stdout
    evaluated = trained.run("eval", "lamp-lstm-001", path, "--json", "--streams", "1").stdout

    assert json.loads(scored)["loss"] == pytest.approx(json.loads(evaluated)["loss"], abs=1e-4)
    assert trained.run("score", "--whole", input=LAMP).stdout.count("\n") == 1


def test_state_carry_keeps_the_hidden_state_between_lines(trained) -> None:
    """The first line has the same loss as with reset, and the second line another one."""
    reset, carry = (
        [
            json.loads(line)
            for line in trained.run("score", "--json", "--state", s, input=LAMP).stdout.splitlines()
        ]
        for s in ("reset", "carry")
    )

    assert carry[0]["loss"] == pytest.approx(reset[0]["loss"], abs=1e-4)
    assert carry[1]["loss"] != pytest.approx(reset[1]["loss"], abs=1e-4)


def test_per_token_has_one_row_per_token(trained) -> None:
    """A row is line number, bits and escaped token; the mean of the bits is that of the line."""
    done = trained.run("score", "--per-token", input="The\tlamp\nx\n")
    table = [line.split("\t") for line in done.stdout.splitlines()]

    assert [row[0] for row in table] == ["1"] * 8 + ["2"]
    assert [row[2] for row in table] == [*"The", r"\t", *"lamp", "x"]
    known = [float(row[1]) for row in table[:8] if row[2] != r"\t"]
    line = json.loads(trained.run("score", "--json", input="The\tlamp\n").stdout)
    assert sum(known) / len(known) == pytest.approx(line["bits_per_char"], abs=1e-3)
    assert len(known) == line["tokens"]
    bits = [float(row[1]) for row in table[:8]]
    p_known = 8 * line["bits_per_char_all"] - sum(bits)  # -log2(1 - p(<unk>)) of each known token
    assert 0 < p_known < 0.01


def test_color_auto_always_never(trained) -> None:
    """In a pipe only `always` adds color codes; without them the text is unchanged."""
    assert "\x1b" not in trained.run("score", "--color", "auto", input=LAMP).stdout
    assert "\x1b" not in trained.run("score", "--color", "never", input=LAMP).stdout
    colored = trained.run("score", "--color=always", input=LAMP, env={"NO_COLOR": "1"}).stdout

    for _, style in score_output.LEVELS:
        colored = colored.replace(style, "") if style else colored
    assert colored.replace(score_output.RESET, "") == trained.run("score", input=LAMP).stdout


@pytest.mark.parametrize(("kind", "has_color"), [("xterm-256color", True), ("dumb", False)])
def test_color_auto_depends_on_term(trained, kind, has_color) -> None:
    """A terminal with TERM=dumb gets no color codes."""
    controller, terminal = pty.openpty()
    done = subprocess.run(
        trained.command("score", "--color", "auto"),
        cwd=trained.folder,
        env=trained.environment(TERM=kind),
        input=b"qqqqzzzz jjjj\n",
        stdout=terminal,
        check=False,
        timeout=60,
    )
    output = os.read(controller, 10_000)
    os.close(controller)
    os.close(terminal)

    assert done.returncode == 0
    assert (b"\x1b" in output) == has_color


def test_overlap_is_the_longest_common_substring(trained) -> None:
    """For a line of the corpus it is the whole line; for another the part in the corpus."""
    done = trained.run("score", "--overlap", input=f"{LINES[0]}\nThe lamp on the #\n")

    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == [str(len(LINES[0])), "16"]


def test_novel_drops_copied_samples(trained) -> None:
    """The number of dropped samples is printed."""
    plain = trained.run("sample", "--samples", "4", "-n", "30", "--seed", "1", "--jsonl")
    kept = trained.run(
        "sample", "--samples", "4", "-n", "30", "--seed", "1", "--jsonl", "--novel", "31"
    )
    none = trained.run("sample", "--samples", "4", "-n", "30", "--seed", "1", "--novel", "1")

    assert kept.stdout == plain.stdout
    assert none.stdout == ""
    assert "kept 0 of 4 samples after 400 attempts; dropped: 400 copied" in none.stderr


def test_adapt_lowers_the_surprisal_of_repeated_lines(trained) -> None:
    """The model file does not change."""
    path = trained.folder / "runs" / "lamp-lstm-001" / "model.safetensors"
    before = path.read_bytes()
    line = "xylophone zebra quartz\n"
    bits = [float(row[0]) for row in rows(trained.run("score", "--adapt", input=line * 30))]

    assert bits[-1] < bits[0]
    assert path.read_bytes() == before


def test_row_is_written_before_the_next_line_is_read(trained) -> None:
    """`tail -f log | charnn score | awk` shows each line at once."""
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


def test_score_in_a_pipe_with_tail_and_awk(trained) -> None:
    """The documented pipe works with a log that is being written."""
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


def test_long_line_is_one_complete_row(trained) -> None:
    """A line of 70 kB is read in pieces and printed unchanged."""
    text = LINES[0] * 1000 + "§"
    row = json.loads(trained.run("score", "--json", input=text).stdout)

    assert (row["tokens"], row["unknown"]) == (len(text) - 1, 1)
    assert row["text"] == text
    assert "truncated" not in row
    assert trained.run("score", input=text).stdout.partition("\t")[2] == text + "\n"


def test_tokens_of_a_long_line_are_limited(trained) -> None:
    """Colored text and JSON contain 65,536 tokens; out-of-vocabulary symbols are unchanged."""
    text = ("§" + LINES[0]) * 1000
    colored = trained.run("score", "--color=always", input=text).stdout
    row = json.loads(trained.run("score", "--json", "--per-token", input=text).stdout)
    for _, style in (*score_output.LEVELS, (0, score_output.UNKNOWN), (0, score_output.RESET)):
        colored = colored.replace(style, "") if style else colored

    assert colored.partition("\t")[2] == text[: 1 << 16] + "…\n"
    assert "".join(token["token"] for token in row["per_token"]) == text[: 1 << 16]
    assert row["text"] == text
    assert row["truncated"] is True


def test_whole_text_is_shown_by_its_first_256_characters(trained) -> None:
    """A text of any length is scored, because it is read in pieces."""
    text = LAMP * 400
    row = json.loads(trained.run("score", "--json", "--whole", input=text).stdout)

    assert row["tokens"] == len(text)
    assert row["text"] == text[:256] + "…"
    assert row["truncated"] is True


def test_invalid_utf8_is_printed_unchanged(trained) -> None:
    """In a pipe, the row contains the exact bytes of the line; a note counts the lines."""
    line = b"The \xff\xfe lamp\x1b[31m\r"
    done = trained.run("score", input=line + b"\n", text=False)

    assert done.stdout.split(b"\t", 1)[1] == line + b"\n"
    assert done.stderr.splitlines()[1] == b"1 of 1 lines with invalid UTF-8, read as U+FFFD"
    assert done.stderr.splitlines()[-1].endswith(b"--tokenizer byte has a token for every byte")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 2, "no model"),
        (["lamp-lstm-001", "nothing.txt"], 74, "nothing.txt"),
        (["nothing", "lamp.txt"], 2, "with -m MODEL all are texts"),
        (["lamp-lstm-001", "lamp-lstm-001"], 2, "one model"),
        (["lamp-lstm-001", "."], 74, "directory"),
        (["--state", "sometimes"], 2, "sometimes"),
        (["--overlap", "--data-dir", "nowhere"], 65, "dataset"),
    ],
    ids=str,
)
def test_bad_input_has_the_documented_exit_code(trained, arguments, code, message) -> None:
    """There is one message on stderr and nothing on stdout."""
    done = trained.run("score", *arguments, code=code, input="x\n")

    assert message in done.stderr
    assert done.stderr.count("charnn: error:") == 1
    assert done.stdout == ""


def test_closed_and_full_streams(trained) -> None:
    """A broken pipe has exit code 141; a full disk, closed stdout and closed stdin have 74."""
    trained.write("many.txt", LAMP * 3000)

    assert trained.bash("charnn score -m lamp-lstm-001 many.txt | head -n 1").returncode == 141
    assert trained.bash("charnn score < lamp.txt >/dev/full").returncode == 74
    assert trained.bash("charnn score < lamp.txt >&-").returncode == 74
    closed = trained.bash("charnn score <&-")
    assert closed.returncode == 74
    assert b"Traceback" not in closed.stderr


@pytest.mark.slow
def test_memory_of_a_long_stream_is_bounded(trained) -> None:
    """The stream is one very long line for 10 seconds, and then short lines for 10 seconds."""
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
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        sizes = [line.split()[1] for line in status if line.startswith("VmHWM")]
        peak = max(peak, *map(int, sizes or [0]))
        time.sleep(0.2)
    feeder.wait()

    assert process.returncode == 0
    assert peak < 300_000, f"{peak} kB"


def test_sigint_while_waiting_for_input(trained) -> None:
    """The exit code is 130, and there is no traceback."""
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


TEXTS = "The lamp\n€€€\n\nThe € lamp\nkkkk\n"


@pytest.mark.parametrize("total", [False, True], ids=["per_char", "total"])
def test_unknown_characters_are_charged(trained, total) -> None:
    """A line of them sorts first with `sort -rn`, and JSON has the same numbers."""
    unit = ("--bits", "total" if total else "per_char")
    columns = [
        row.split("\t")[0] for row in trained.run("score", *unit, input=TEXTS).stdout.splitlines()
    ]
    objects = map(json.loads, trained.run("score", "--json", input=TEXTS).stdout.splitlines())
    bits = [
        None if row["bits_per_char_all"] is None
        else row["bits_per_char_all"] * (len(row["text"]) if total else 1)
        for row in objects
    ]  # fmt: skip

    assert columns[2] == "-"
    assert bits[2] is None
    numbers = [float(column) for column in columns if column != "-"]
    assert numbers == [pytest.approx(b, abs=1e-3) for b in bits if b is not None]
    assert max(numbers) == numbers[1]
    assert numbers[1] > 20 * (3 if total else 1)
    assert numbers[2] > numbers[0]


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

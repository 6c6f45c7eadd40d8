"""Bad input to whole commands: one message, a remedy, the right exit code, nothing left."""

import os
import time

import pytest

from tests.shell.conftest import LAMP


def refused(shell, *arguments, code, said=(), **options) -> str:
    """The message of a command that fails as it should: no output, no traceback."""
    done = shell.run(*arguments, code=code, **options)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "charnn: error: " in done.stderr
    for words in said:
        assert words in done.stderr, done.stderr
    return done.stderr


def no_dataset(shell) -> bool:
    data = shell.folder / "data"
    return not data.exists() or not list(data.iterdir())


def test_a1_invalid_utf8_names_file_offset_line_and_three_remedies(shell) -> None:
    """And with each remedy it goes through."""
    shell.write("bad.txt", (LAMP * 20).encode() + b"\n\xff\xfe bad\n" + (LAMP * 20).encode())
    offset = len((LAMP * 20).encode()) + 1
    said = ("bad.txt", f"{offset:,}", "line 62", "--encoding", "--errors replace", "byte")
    refused(shell, "prepare", "bad.txt", code=65, said=said)
    assert no_dataset(shell)

    shell.run("prepare", "bad.txt", "--errors", "replace", "--name", "one")
    shell.run("prepare", "bad.txt", "--encoding", "latin-1", "--name", "two")
    shell.run("prepare", "bad.txt", "--tokenizer", "byte", "--name", "three")


def test_a2_all_bytes_go_through_the_byte_tokenizer(shell) -> None:
    """Ids are the bytes themselves."""
    shell.write("all.bin", bytes(range(256)) * 40)
    shell.run("prepare", "all.bin", "--tokenizer", "byte", "--val-frac", "0")

    assert (shell.folder / "data/all.bin/train.bin").read_bytes() == bytes(range(256)) * 40


def test_a3_marks_at_the_beginning(shell) -> None:
    """A UTF-8 mark is dropped with a note; UTF-16 is recognised, and named as the remedy."""
    shell.write("bom.txt", "\ufeff" + LAMP * 20)
    assert "byte order mark" in shell.run("prepare", "bom.txt").stderr
    shell.write("utf16.txt", (LAMP * 20).encode("utf-16"))
    refused(shell, "prepare", "utf16.txt", code=65, said=("UTF-16", "--encoding utf-16"))
    shell.run("prepare", "utf16.txt", "--encoding", "utf-16")


def test_a4_line_ends_are_kept_counted_and_converted_on_request(shell) -> None:
    """CRLF stays unless --newlines lf is given."""
    shell.write("dos.txt", LAMP.replace("\n", "\r\n") * 20)
    assert "60 CRLF" in shell.run("prepare", "dos.txt").stderr
    kept = (shell.folder / "data/dos/meta.json").read_text()
    shell.run("prepare", "dos.txt", "--newlines", "lf", "--name", "lf")

    assert kept != (shell.folder / "data/lf/meta.json").read_text()
    assert "\\r" not in (shell.folder / "data/lf/tokenizer.json").read_text()


def test_a7_empty_and_blank_files_leave_no_dataset(shell) -> None:
    """There is nothing to learn."""
    shell.write("empty.txt", "")
    shell.write("blank.txt", " \n\t\n")
    refused(shell, "prepare", "empty.txt", code=65, said=("empty.txt",))
    refused(shell, "prepare", "blank.txt", code=65, said=("blank.txt", "white space"))

    assert no_dataset(shell)


def test_a8_a_small_text_shrinks_the_batch_and_too_small_a_one_says_why(shell) -> None:
    """A note with both batch sizes; or what is there, what is needed, and what would fit."""
    shell.write("small.txt", LAMP)
    shell.run("prepare", "small.txt")
    done = shell.run(
        "train", "--steps", "1", "--bptt", "32", "--batch-size", "64", "--preset", "tiny"
    )
    assert "batch size 64 → " in done.stderr
    said = ("tokens", "100000", "--bptt ")
    refused(shell, "train", "--steps", "1", "--bptt", "99999", code=65, said=said)


def test_a9_missing_unreadable_and_dangling_paths(shell) -> None:
    """74, the path, and a near miss where there is one."""
    shell.write("lamp.txt", LAMP)
    (shell.folder / "dangling.txt").symlink_to("nowhere")
    (shell.folder / "folder").mkdir()
    refused(shell, "prepare", "lmap.txt", code=74, said=("lmap.txt", "lamp.txt"))
    refused(shell, "prepare", "dangling.txt", code=74, said=("dangling.txt",))
    refused(shell, "prepare", "folder", code=65, said=("folder",))
    refused(shell, "sample", code=74, said=("charnn train",))
    refused(shell, "train", "--config", "none.yaml", code=74, said=("none.yaml",))

    assert no_dataset(shell)


def test_a12_seventy_thousand_words_are_not_wrapped(shell) -> None:
    """Their ids take four bytes each."""
    shell.write("many.txt", " ".join(f"w{i}" for i in range(70_000)))
    shell.run("prepare", "many.txt", "--tokenizer", "word", "--val-frac", "0")

    assert (shell.folder / "data/many/train.bin").stat().st_size == 4 * 70_000


def test_a15_a_prompt_outside_the_vocabulary_is_named_with_its_place(trained) -> None:
    """Refused, skipped, or replaced; an undecodable byte of the command line is no crash."""
    refused(trained, "sample", "-p", "The é", "-n", "1", code=2, said=("'é'", "5", "--unk skip"))
    for policy in ("skip", "replace"):
        trained.run("sample", "-p", "The é", "-n", "1", "--unk", policy)
    refused(trained, "sample", "-p", os.fsdecode(b"The \xff"), "-n", "1", code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dropuot: 0.1\n", "did you mean dropout?"),
        ("model:\n  cell: lstm\n", "model"),
        ("lr: 1.0\nlr: 2.0\n", "line 2"),
        ("lr: !!python/object/apply:os.system ['touch marker']\n", "line 1"),
        ("lr: " + "[" * 2000, "nested"),
        ("lr: .nan\n", "lr"),
        ("hidden_size: true\n", "hidden_size"),
    ],
    ids=["b2", "b2-section", "b3", "b4-tag", "b4-nesting", "b5-nan", "b5-true"],
)
def test_b_bad_settings_are_refused_with_file_and_line(trained, text, said) -> None:
    """Exit code 2, and nothing is executed."""
    trained.write("bad.yaml", text)
    begin = time.perf_counter()
    refused(trained, "train", "--config", "bad.yaml", code=2, said=("bad.yaml", said))

    assert time.perf_counter() - begin < 5
    assert not (trained.folder / "marker").exists()


def test_b1_numbers_in_yaml_are_numbers(trained) -> None:
    """1e-3 arrives as a thousandth."""
    trained.write("good.yaml", "lr: 1e-3\n")

    assert "lr: 0.001\n" in trained.run("train", "--config", "good.yaml", "--print-config").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sample", "--temp", "nan"), "temp"),
        (("sample", "--temp", "inf"), "temp"),
        (("sample", "--temp", "-1"), "temp"),
        (("sample", "--top-p", "0"), "--top-p"),
        (("sample", "--top-p", "1.5"), "--top-p"),
        (("sample", "--top-k", "-1"), "--top-k"),
        (("sample", "-n", "-5"), "--max-new-tokens"),
        (("sample", "-n", "-1", "--samples", "2"), "-n -1"),
        (("train", "--hidden-size", "0"), "--hidden-size"),
        (("train", "--lr", "nan"), "--lr"),
        (("train", "--cell", "transformer"), "--cell"),
        (("train", "--epochs", "1", "--steps", "1"), "epochs and steps"),
        (("train", "--minutes", "1", "--deterministic"), "deterministic"),
        (("train", "--device", "cuda:99"), "cuda:99"),
        (("sampel",), "sample"),
        (("sample", "--tmp", "1"), "--temp"),
        (("prepare", "--val-frac", "1"), "--val-frac"),
        (("prepare", "--tokenizer", "word", "--word-pattern", "(", "lamp.txt"), "--word-pattern"),
        (("plot", "-o", "x.doc"), ".png"),
    ],
    ids=" ".join,
)
def test_b5_b6_b7_bad_flags_name_the_flag(trained, arguments, said) -> None:
    """Exit code 2 with the flag, or the nearest one."""
    refused(trained, *arguments, code=2, said=(said,))


@pytest.mark.parametrize("temperature", ["0", "1e-9", "1e9", "100"])
def test_b6_extreme_temperatures_have_a_meaning(trained, temperature) -> None:
    """0 is greedy, the others are defined too: text comes, and the same twice."""
    one, two = (
        trained.run("sample", "--temp", temperature, "-n", "20", "--seed", "1").stdout
        for _ in range(2)
    )

    assert one == two
    assert len(one) >= 20


def test_a_mistake_of_ours_is_one_message_unless_debug_asks_for_more(trained) -> None:
    """--debug shows the traceback of a failure, in front of or behind the command."""
    plain = trained.run("sample", "nothing", code=74).stderr
    debug = trained.run("sample", "nothing", "--debug", code=74).stderr

    assert "Traceback" not in plain
    assert "Traceback" in debug
    assert plain in debug

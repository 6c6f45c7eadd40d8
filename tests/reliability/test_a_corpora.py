"""Rows A of the table of faults: text is read without loss, or refused."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from charnn.data.dataset import open_dataset
from charnn.data.sources import read_sources
from charnn.tokenizers import bpe
from charnn.tokenizers.bpe import BpeTokenizer
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer import VocabularyOptions
from tests.reliability.craft import reseal_dataset
from tests.shell.conftest import LAMP
from tests.tiny import written_dataset

TEXT_TOKENIZERS = sorted(set(TOKENIZERS) - {"byte"})
ODD = (
    "nul \0 esc \x1b[1m line \u2028 para \u2029 next \x85 tab \x0b feed \x0c "
    "zero\u200bwidth \u202eturned family 👩\u200d👩\u200d👧 NFC é NFD e\u0301 \ufeff inside\n"
)


def round_trip(folder):
    """Return the bytes of the training split of a dataset."""
    dataset = open_dataset(folder)
    return dataset.tokenizer.decode(dataset.split("train"))


@pytest.mark.parametrize("kind", TEXT_TOKENIZERS)
def test_a1_invalid_utf8_is_reported_with_its_position(charnn, kind) -> None:
    """65 with file, byte and line, and three remedies, each of which works."""
    good = LAMP.encode()
    charnn.write("bad.txt", good + b"\n\xff bad\n" + good)
    said = ("bad.txt", f"{len(good) + 1:,}", "line 5", "--encoding", "--errors replace", "byte")
    charnn.refused("prepare", "bad.txt", "--tokenizer", kind, code=65, said=said)
    assert charnn.datasets() == []

    charnn.run("prepare", "bad.txt", "--errors", "replace", "--name", "a", "--tokenizer", kind)
    charnn.run("prepare", "bad.txt", "--encoding", "latin-1", "--name", "b", "--tokenizer", kind)
    charnn.run("prepare", "bad.txt", "--tokenizer", "byte", "--name", "c")


def test_a1_eval_accepts_the_suggested_options(trained) -> None:
    """A file that is not UTF-8 is scored once its encoding is given, as in prepare."""
    trained.write("latin.txt", "The lamp caf\xe9\r\n".encode("latin-1"))
    trained.write("same.txt", "The lamp caf\xe9\n")
    command = ("eval", "-m", "lamp-lstm-001", "latin.txt", "--json")
    message = trained.refused(*command, code=65, said=("--encoding", "--errors"))
    read = json.loads(trained.run(*command, "--encoding", "latin-1", "--newlines", "lf").stdout)
    same = json.loads(trained.run(*command[:3], "same.txt", "--json").stdout)

    assert "--tokenizer" not in message
    assert {**read, "text": ""} == {**same, "text": ""}
    trained.run(*command, "--errors", "replace")
    trained.refused("eval", "--encoding", "latin-1", code=2, said="--encoding")


def test_a2_the_byte_tokenizer_keeps_all_bytes(charnn) -> None:
    """All 256 values and random bytes; the ids are the bytes."""
    data = bytes(range(256)) * 4 + np.random.default_rng(1).bytes(5000)
    charnn.write("all.bin", data)
    charnn.run("prepare", "all.bin", "--tokenizer", "byte", "--val-frac", "0")
    folder = charnn.folder / "data/all"

    assert (folder / "train.bin").read_bytes() == data == round_trip(folder)


def test_a3_a_byte_order_mark_is_removed_and_utf16_is_detected(charnn) -> None:
    """A UTF-8 mark is removed with a note; UTF-16 is 65 with the option to use."""
    charnn.write("bom.txt", "\ufeff" + LAMP)
    done = charnn.run("prepare", "bom.txt", "--val-frac", "0")
    assert "byte order mark" in done.stderr
    assert round_trip(charnn.folder / "data/bom") == LAMP.encode()
    for name, encoding in (("le", "utf-16"), ("be", "utf-16-be")):
        mark = b"" if name == "le" else b"\xfe\xff"
        charnn.write(f"{name}.txt", mark + LAMP.encode(encoding))
        charnn.refused("prepare", f"{name}.txt", code=65, said=("UTF-16", "--encoding utf-16"))
        charnn.run("prepare", f"{name}.txt", "--encoding", "utf-16", "--val-frac", "0")
        assert round_trip(charnn.folder / "data" / name) == LAMP.encode()


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_a4_line_endings_are_kept_and_counted(charnn, kind) -> None:
    """CRLF, lone CR and LF, mixed; `--newlines lf` converts them all to LF."""
    text = "one\r\ntwo\rthree\nfour\r\n" * 30
    charnn.write("mixed.txt", text)
    given = ("prepare", "mixed.txt", "--tokenizer", kind, "--val-frac", "0")
    done = charnn.run(*given)
    assert "60 CRLF" in done.stderr
    assert round_trip(charnn.folder / "data/mixed") == text.encode()
    charnn.run(*given, "--newlines", "lf", "--name", "lf")
    assert round_trip(charnn.folder / "data/lf") == b"one\ntwo\nthree\nfour\n" * 30


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_a5_unusual_characters_are_kept(charnn, kind) -> None:
    """NUL, ESC, line separators, invisible characters, emoji, both forms of é."""
    charnn.write("odd.txt", ODD * 20)
    charnn.run("prepare", "odd.txt", "--tokenizer", kind, "--val-frac", "0")

    assert round_trip(charnn.folder / "data/odd") == (ODD * 20).encode()


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a6_a_long_line_is_encoded_like_short_lines(tmp_path, kind) -> None:
    """A megabyte without newlines gives the same ids as with newlines, except for the newlines."""
    line = (LAMP.replace("\n", " ") * 5000)[:1_000_000]
    lines = line.replace(" ", "\n")
    tokenizer = TOKENIZERS[kind].build((" \n" + line).encode() if kind == "byte" else " \n" + line)
    one, many = (
        tokenizer.encode(text.encode() if kind == "byte" else text).ids for text in (line, lines)
    )
    space, newline = tokenizer.pieces.index(b" "), tokenizer.pieces.index(b"\n")

    assert np.array_equal(np.where(one == space, newline, one), many)


@pytest.mark.parametrize("stop", [" ", ". ", "! \x1c", "。", "，«", " 's '", "\n\n  "])
def test_a6_bpe_does_not_depend_on_the_parts_of_a_text(stop, monkeypatch) -> None:
    """Parts of twenty characters give the ids of the whole, with and without newlines."""
    words = ["lamp", "河镇渡口", "it's", "x1", "\x1c", "é", "...", " ", "\u3000"]
    random = np.random.default_rng(1)
    text = "".join(words[n] + stop for n in random.integers(0, len(words), 400))
    tokenizer = BpeTokenizer.build(text, VocabularyOptions(vocab_size=300))
    whole = tokenizer.encode(text).ids
    monkeypatch.setattr(bpe, "PART", 20)
    parts = list(bpe._parts(text))

    assert "".join(parts) == text
    assert len(parts) > 20
    assert np.array_equal(whole, tokenizer.encode(text).ids)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_a6_a_hundred_megabytes_on_one_line_take_bounded_memory(shell, kind) -> None:
    """Below 2 GB with any tokenizer, if the line contains spaces or punctuation."""
    line = LAMP.replace("\n", " ")
    shell.write("line.txt", line * (100_000_000 // len(line)))
    script = (
        "import resource, sys; from charnn import cli\n"
        f"assert cli.main(['prepare', 'line.txt', '--tokenizer', '{kind}', '-q']) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=shell.folder, capture_output=True)

    assert int(done.stdout) < 2_000_000  # kilobytes


def test_a7_an_empty_or_blank_file_is_refused(charnn) -> None:
    """65, and no dataset."""
    charnn.write("empty.txt", "")
    charnn.write("blank.txt", " \n\t\r\n" * 100)
    for kind in sorted(TOKENIZERS):
        charnn.refused("prepare", "empty.txt", "--tokenizer", kind, code=65, said="empty.txt")
        charnn.refused("prepare", "blank.txt", "--tokenizer", kind, code=65, said="blank.txt")

    assert charnn.datasets() == []


def test_a8_a_text_that_is_too_small_is_reported_with_sizes(charnn) -> None:
    """`prepare` warns; `train` uses a smaller batch with a note, or exits with 65 and the sizes."""
    charnn.write("small.txt", LAMP)
    assert "will learn little" in charnn.run("prepare", "small.txt").stderr
    tokens = len(open_dataset(charnn.folder / "data/small").split("train"))
    tiny = ("train", "--steps", "1", "--hidden-size", "4", "--precision", "float32")
    charnn.refused(
        *tiny, "--bptt", "500", code=65, said=(f"{tokens}", "501", f"--bptt {tokens - 1}")
    )
    done = charnn.run(*tiny, "--bptt", "32", "--batch-size", "64")
    assert f"batch size 64 → {(tokens - 1) // 32}" in done.stderr

    charnn.write("ten.txt", "0123456789")
    assert "no validation split" in charnn.run("prepare", "ten.txt", "--val-frac", "0").stderr
    charnn.run(*tiny, "ten", "--bptt", "4")


def test_a9_missing_paths(charnn) -> None:
    """Missing: 74 with the nearest name; dangling link: 74; a folder without text: 65."""
    charnn.write("lamp.txt", LAMP)
    (charnn.folder / "dangling.txt").symlink_to("nowhere")
    (charnn.folder / "folder").mkdir()
    charnn.refused("prepare", "lmap.txt", code=74, said=("lmap.txt", "did you mean lamp.txt"))
    charnn.refused("prepare", "dangling.txt", code=74, said="dangling.txt")
    charnn.refused("prepare", "folder", code=65, said="folder")
    charnn.refused("prepare", "lamp.txt/x", code=74, said="lamp.txt/x")
    charnn.refused("sample", code=2, said="charnn train")
    charnn.refused("train", "--config", "none.yaml", code=74, said="none.yaml")

    assert charnn.datasets() == []


def test_a9_eval_lists_skipped_files(trained) -> None:
    """Files of a folder that are not text, as in prepare."""
    trained.write("texts/a.txt", LAMP)
    trained.write("texts/b.bin", b"\0\1")
    done = trained.run("eval", "-m", "lamp-lstm-001", "texts")

    assert "skipped 1 file: 1 binary (b.bin)" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a9_an_unreadable_file(charnn) -> None:
    """74 with its name."""
    charnn.write("secret.txt", LAMP).chmod(0)
    charnn.refused("prepare", "secret.txt", code=74, said=("secret.txt", "permissions"))


def test_a10_a_pipe_is_read_once_and_a_terminal_gets_a_hint(charnn, monkeypatch) -> None:
    """A named pipe, `-`, and input typed in a terminal."""
    os.mkfifo(charnn.folder / "pipe")
    writer = threading.Thread(target=charnn.write, args=("pipe", LAMP))
    writer.start()
    charnn.run("prepare", "pipe", "--val-frac", "0", "-q")
    writer.join()
    assert round_trip(charnn.folder / "data/pipe") == LAMP.encode()

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LAMP.encode())))
    charnn.run("prepare", "-", "--val-frac", "0", "-q")
    assert round_trip(charnn.folder / "data/stdin") == LAMP.encode()

    ours, theirs = pty.openpty()
    os.write(ours, LAMP.encode() + b"\x04")
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(terminal)))
        done = charnn.run("prepare", "-", "--name", "typed")
    os.close(ours)
    assert "end with Ctrl-D" in done.stderr


def test_a10_eval_prints_a_hint_when_it_reads_a_terminal(trained, monkeypatch) -> None:
    """As in prepare."""
    ours, theirs = pty.openpty()
    os.write(ours, b"The lamp\n\x04")
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(terminal)))
        done = trained.run("eval", "-m", "lamp-lstm-001", "-")
    os.close(ours)

    assert "end with Ctrl-D" in done.stderr


def test_a11_an_endless_stdin_can_be_interrupted(shell) -> None:
    """130, and no dataset."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        shell.command("prepare", "-"),
        cwd=shell.folder,
        stdin=reading,
        stderr=subprocess.PIPE,
    )
    os.close(reading)
    for _ in range(20):  # the process reads this and waits for more
        os.write(writing, LAMP.encode() * 100)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    os.close(writing)

    assert process.returncode == 130
    assert b"Traceback" not in said
    assert not (shell.folder / "data").exists()


def test_a12_a_vocabulary_of_70000_symbols_does_not_overflow(charnn) -> None:
    """Ids have four bytes and decode to the same text."""
    text = " ".join(f"w{number}" for number in range(70_000))
    charnn.write("many.txt", text)
    charnn.run("prepare", "many.txt", "--tokenizer", "word", "--val-frac", "0", "-q")
    dataset = open_dataset(charnn.folder / "data/many")

    assert dataset.split("train").dtype == np.uint32
    assert dataset.tokenizer.vocab_size > 70_000
    assert round_trip(dataset.folder) == text.encode()


def test_a13_a_vocabulary_of_40000_characters_is_complete(charnn) -> None:
    """No limit of a library applies."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 40_000))).replace("\ud800", "")
    text = "".join(c for c in text if not "\ud800" <= c <= "\udfff")
    charnn.write("many.txt", text * 2)
    charnn.run("prepare", "many.txt", "--val-frac", "0", "-q")

    assert open_dataset(charnn.folder / "data/many").tokenizer.vocab_size == len(set(text)) + 1
    assert round_trip(charnn.folder / "data/many") == text.encode() * 2


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_a14_the_names_of_special_tokens_are_ordinary_text(charnn, kind) -> None:
    """`<unk>` and `<|endoftext|>` in a corpus are decoded unchanged."""
    text = "so <unk> is <|endoftext|> and <<unk>> [UNK] <pad> too\n" * 20
    charnn.write("special.txt", text)
    charnn.run("prepare", "special.txt", "--tokenizer", kind, "--val-frac", "0", "-q")

    assert round_trip(charnn.folder / "data/special") == text.encode()
    meta = json.loads((charnn.folder / "data/special/meta.json").read_text())
    assert meta["splits"]["train"]["unknown"] == 0


def test_a15_an_out_of_vocabulary_character_is_reported_with_its_position(trained) -> None:
    """In a prompt: refused, skipped or replaced, as --unk says; in a text to evaluate: counted."""
    said = ("'é'", "character 5", "--unk skip", "--unk replace")
    trained.refused("sample", "-p", "The é", "-n", "1", "-q", code=2, said=said)
    for policy in ("skip", "replace"):
        trained.run("sample", "-p", "The é", "-n", "1", "--unk", policy, "-q")
    trained.refused("sample", "-p", "The \udcff", "-n", "1", "-q", code=2, said="udcff")
    trained.run("sample", "-p", "The \udcff", "-n", "1", "--unk", "skip", "-q")
    trained.write("accents.txt", "thé lamp é\n")
    done = trained.run("eval", "-m", "lamp-lstm-001", "accents.txt", "--json")
    assert json.loads(done.stdout)["unknown"] == 2


@pytest.mark.parametrize("kind", sorted(TOKENIZERS))
def test_a16_preparing_twice_gives_the_same_files(shell, kind) -> None:
    """For any hash seed of Python and any number of threads."""
    shell.write("odd.txt", (LAMP + ODD) * 20)
    made = []
    for number in ("1", "2"):
        environment = {"PYTHONHASHSEED": number, "RAYON_NUM_THREADS": number}
        environment |= {"OMP_NUM_THREADS": number}
        where = ("--data-dir", number, "-q")
        shell.run("prepare", "odd.txt", "--tokenizer", kind, *where, env=environment)
        folder = shell.folder / number / "odd"
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})

    assert made[0] == made[1]
    assert set(made[0]) == {"train.bin", "val.bin", "tokenizer.json", "meta.json"}


@pytest.mark.parametrize("change", ["cut", "odd", "longer", "replaced", "wider", "gone"])
def test_a17_a_modified_dataset_is_detected_before_the_first_step(
    trained, change, monkeypatch
) -> None:
    """Truncated, of odd length, replaced, of another dtype: 65; missing: 74; with the file name."""
    from charnn.training.loop import TrainLoop

    monkeypatch.setattr(TrainLoop, "update", None)
    path = trained.folder / "data/lamp/train.bin"
    data = path.read_bytes()
    if change == "gone":
        path.unlink()
        trained.refused("train", "--steps", "1", code=74, said="train.bin")
        return
    changed = {
        "cut": data[: len(data) // 2],
        "odd": data[:-1],
        "longer": data + b"\0",
        "replaced": data[::-1],
        "wider": np.frombuffer(data, np.uint8).astype(np.uint16).tobytes(),
    }[change]
    path.write_bytes(changed)
    trained.refused("train", "--steps", "1", code=65, said="train.bin")
    if change == "wider":  # with a matching manifest, the length is still wrong
        reseal_dataset(path.parent, "train.bin", changed)
        trained.refused("train", "--steps", "1", code=65, said="train.bin")


def test_a18_truncating_a_dataset_during_training_has_no_effect(dataset, tmp_path) -> None:
    """The tokens are in memory."""
    splits = {"train": LAMP}
    written_dataset(tmp_path / "d", splits)
    opened = open_dataset(tmp_path / "d")
    before = opened.split("train").copy()
    (tmp_path / "d/train.bin").write_bytes(b"")

    assert np.array_equal(opened.split("train"), before)


def test_several_files_are_joined_in_sorted_order(charnn) -> None:
    """Independently of the order in which the system lists them."""
    for name in ("b", "c", "a"):
        charnn.write(f"texts/{name}.txt", name * 3)
    reading = read_sources([str(charnn.folder / "texts")])

    assert [source.data for source in reading.sources] == [b"aaa", b"bbb", b"ccc"]


def test_a_corpus_of_records_is_prepared_by_lines(charnn) -> None:
    """By default, with a note; --no-lines prepares it as running text."""
    by_itself = charnn.run("prepare", "places")
    charnn.run("prepare", "places", "--lines", "--name", "lines", "-q")
    charnn.run("prepare", "places", "--no-lines", "--name", "text", "-q")
    read = {name: open_dataset(charnn.folder / "data" / name) for name in charnn.datasets()}

    assert "--no-lines" in by_itself.stderr
    assert read["places"].records
    assert read["places"].fingerprint == read["lines"].fingerprint != read["text"].fingerprint
    assert not read["text"].records

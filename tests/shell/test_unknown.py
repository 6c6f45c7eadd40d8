"""Unknown tokens: every output says what its figures cover, and charges the rest."""

import dataclasses
import json
import math
import re
from collections import Counter
from typing import Any

import pytest

from charnn import api, cli
from charnn.model.model_file import read_model, write_model
from tests.shell.conftest import LAMP, Shell
from tests.tokenizers.slow_spelling import SlowSpelling

TEXT = LAMP * 12 + "A gull flew over the keeper.\nThen a gull went with her.\n" * 5
TRAIN, VAL = TEXT[: int(0.9 * len(TEXT))], TEXT[int(0.9 * len(TEXT)) :]
COVERS = r"\(covers \d\d\.\d% of the characters\)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Shell:
    """A folder with a model of characters and one of words, of the same text."""
    shell = Shell(tmp_path_factory.mktemp("unknown"))
    path, data_dir = shell.write("gull.txt", TEXT), shell.folder / "data"
    for name, kind in (("chars", "char"), ("words", "word")):
        api.prepare(path, name=name, tokenizer=kind, data_dir=data_dir)
        done = shell.run("train", name, "--name", name, "--preset", "tiny", "--steps", "2")
        shell.write(f"{name}.log", done.stdout)
    return shell


@pytest.fixture
def charnn(folder, monkeypatch, capfd):
    """Return a function that runs a command in the folder, in this process."""
    monkeypatch.chdir(folder.folder)

    def run(*arguments) -> tuple[str, str]:
        """Return stdout and stderr."""
        assert cli.main(list(map(str, arguments))) == 0
        return capfd.readouterr()

    return run


def objects(output) -> list[dict[str, Any]]:
    """Return the JSON objects on stdout, one per line."""
    return [json.loads(line) for line in output[0].splitlines()]


def test_eval_agrees_with_a_slow_computation(folder, charnn) -> None:
    """From the words of the text, its loss, and the definitions; on a split and on a file."""
    pattern = re.compile(r" ?[a-zA-Z]+| ?[.,]|\s")
    train, val = (pattern.findall(text) for text in (TRAIN, VAL))
    counts = Counter(train)
    rare = [word for word in counts if counts[word] == 1]
    spelling, p_unk = SlowSpelling(rare, ends=True), max(len(rare), 0.5) / len(train)
    unknown = [word for word in val if word not in counts]
    folder.write("val.txt", VAL)

    for file in ((), ("val.txt",)):
        (found,) = objects(charnn("eval", "words", *file, "--json"))
        known = len(val) - len(unknown)
        assert (found["tokens"], found["unknown"]) == (known, len(unknown))
        assert found["coverage"] == pytest.approx(1 - sum(map(len, unknown)) / len(VAL))
        nats = known * (found["loss"] - math.log(1 - p_unk))
        nats += sum(spelling.nats(word) - math.log(p_unk) for word in unknown)
        assert found["bits_per_char_all"] == pytest.approx(nats / math.log(2) / len(VAL))


def test_eval_names_the_fraction_and_ranks_by_all_characters(charnn) -> None:
    """Otherwise the model that leaves the most characters out would win."""
    alone, _ = charnn("eval", "words", "-q")
    _, messages = charnn("eval", "words", "chars")
    chars, words = (objects(charnn("eval", name, "--json"))[0] for name in ("chars", "words"))

    assert re.search(rf"^bits_per_char +\d\.\d{{4}} {COVERS}$", alone, re.MULTILINE)
    assert "compare bits_per_char_all\n" in messages
    assert chars["coverage"] == 1
    assert words["bits_per_char"] < words["bits_per_char_all"]
    best = min((chars, words), key=lambda found: found["bits_per_char_all"])
    assert f"charnn sample {best['model']}\n" in messages


def test_train_says_what_the_tables_cover(folder) -> None:
    """In the closing table, in the heading of the baselines, and in metrics.jsonl."""
    words, chars = ((folder.folder / f"{name}.log").read_text() for name in ("words", "chars"))
    rows = (folder.folder / "runs/words/metrics.jsonl").read_text().splitlines()
    final = json.loads(rows[-1])
    covers = f"{final['coverage']:.1%} of characters"

    assert re.search(rf"^validation .* {covers}$", words, re.MULTILINE)
    assert re.search(r"^training .* 100% of characters$", words, re.MULTILINE)
    assert "bits/char of all of the validation text\n" in words
    assert re.search(rf"^this model +{final['bits_per_char_all']:.3f}$", words, re.MULTILINE)
    assert "covers" not in chars
    assert "bits/char of the validation text\n" in chars


def test_list_info_and_plot_say_what_the_bits_cover(charnn) -> None:
    """`list` has two more columns, and the title of the plot names the curve."""
    table, _ = charnn("list")
    runs = {run["name"]: run for run in objects(charnn("list", "--json"))[0]["runs"]}
    title = charnn("plot", "chars", "words", "--y", "bits_per_char")[0].split("\n")[0]

    assert re.search(r"bits/char +coverage +bits/char of all", table)
    assert (runs["chars"]["coverage"], runs["words"]["coverage"] < 1) == (1, True)
    assert runs["words"]["bits_per_char_all"] > runs["words"]["bits_per_char"]
    assert re.fullmatch(r"bits per character by step \(b covers .*% of the characters\)", title)
    assert re.search(COVERS, charnn("info", "runs/words")[0].split("\n")[0])


def test_unknown_tokens_have_bits(folder, charnn) -> None:
    """In rows and in JSON, where a key marks them; words are shown as they are."""
    folder.write("line.txt", "The ship said\n")
    table = charnn("score", "words", "line.txt", "--per-token")[0].splitlines()
    (row,) = objects(charnn("score", "words", "line.txt", "--per-token", "--json"))
    tokens = row["per_token"]

    assert [text.split("\t")[2] for text in table] == ["The", " ship", " said"]
    assert [token.get("unknown") for token in tokens] == [None, True, None]
    assert [float(text.split("\t")[1]) for text in table] == [
        pytest.approx(token["bits"], abs=1e-4) for token in tokens
    ]
    assert tokens[1]["bits"] > 20
    assert row["coverage"] == pytest.approx((3 + 5) / 13)


def test_older_models_have_no_bits_of_unknown_symbols(folder, charnn, tmp_path) -> None:
    """Those of all characters are null; a line of unknown characters has the score inf."""
    model = read_model(folder.folder / "runs/chars/model.safetensors")
    path = tmp_path / "old.safetensors"
    write_model(path, dataclasses.replace(model, unknown_model=None))
    text = "The €\n€€€\n\n"
    folder.write("euro.txt", text)
    columns = [row.split("\t")[0] for row in charnn("score", path, "euro.txt")[0].splitlines()]
    rows = objects(charnn("score", path, "euro.txt", "--json"))
    (on_file,), (on_split,) = (
        objects(charnn("eval", path, *file, "--json")) for file in (("euro.txt",), ())
    )

    assert columns[1:] == ["inf", "-"]
    assert float(columns[0]) == pytest.approx(rows[0]["bits_per_char"], abs=1e-4)
    assert [row["bits_per_char_all"] for row in rows] == [None] * 3
    assert on_file["bits_per_char_all"] is on_split["bits_per_char_all"] is None
    assert on_file["coverage"] == pytest.approx(1 - 4 / len(text))
    assert on_split["coverage"] == 1

"""`charnn eval`: datasets that it opens, several models, models and texts, records."""

import io
import json
import re
from pathlib import Path

import pytest

import charnn
from charnn import cli
from charnn.data.dataset import open_dataset
from charnn.data.splits import split_text
from charnn.model.model_file import ModelFile, write_model
from charnn.tokenizers.words import WordTokenizer
from tests.tiny import random_tensors, tiny_config, written_dataset


@pytest.mark.parametrize("files", [[], ["lines.txt"]], ids=str)
def test_dataset_is_opened_once(files, opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main(["eval", "m.safetensors", *files, "--dynamic", "-q"]) == 0
    assert opened == ["lamp"]


def test_dataset_is_not_opened_for_a_file(opened) -> None:
    """Evaluating a file does not need the dataset."""
    assert cli.main(["eval", "m.safetensors", "lines.txt", "-q"]) == 0
    assert opened == []


def test_empty_and_skipped_files_are_named(opened, tmp_path, capfd) -> None:
    """An empty file adds nothing to the text; alone it is no text."""
    (tmp_path / "empty.txt").write_text("")
    assert cli.main(["eval", "-m", "m.safetensors", "lines.txt", "empty.txt"]) == 0
    assert "empty: empty.txt\n" in capfd.readouterr().err

    assert cli.main(["eval", "-m", "m.safetensors", "empty.txt"]) == 65
    assert "error: empty.txt is empty\n" in capfd.readouterr().err


@pytest.fixture
def models(opened, text, tmp_path):
    """Add the models `words`, of words of the same text, and `other`, of another text."""
    for name, of in (("words", text), ("other", text[:700])):
        splits = split_text(of, 0.1, 0)
        tokenizer = WordTokenizer.build(of) if name == "words" else None
        data = written_dataset(tmp_path / "data" / name, splits, tokenizer)
        shape = tiny_config(vocab_size=data.tokenizer.vocab_size)
        weights = random_tensors(shape, scale=0.3)
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        model = ModelFile(
            *(shape, data.tokenizer, 0, weights),
            fingerprint=data.fingerprint,
            unknown_model=data.unknown_model,
        )
        write_model(folder / "model.safetensors", model)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("arguments", "differs"),
    [(["words"], False), (["other"], True), (["words", "other"], True), (["other", "-"], False)],
    ids=str,
)
def test_models_of_different_texts_do_not_compare(arguments, differs, capfd, monkeypatch) -> None:
    """The tokenizer may differ. The remedy is one file for all of them."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the lamp\n")))
    assert cli.main(["eval", "m.safetensors", *arguments]) == 0
    error = capfd.readouterr().err

    assert ("different texts: each model is evaluated on the val split of its" in error) == differs
    assert ("charnn eval MODEL MODEL FILE" in error) == differs


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("options", [[], ["--dynamic"]], ids=str)
def test_a_split_that_the_dataset_lacks_is_a_usage_error(options, capfd) -> None:
    """The hint is the option of `charnn prepare` that creates it."""
    assert cli.main(["eval", "m.safetensors", "--split", "test", *options]) == 2
    error = capfd.readouterr().err

    assert "error: dataset lamp has no test split; it has train, val\n" in error
    assert "charnn prepare … --test-frac 0.1 (or --test FILE)" in error


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("file", ["lines.txt", "-"])
def test_several_models_on_one_file(file, opened, monkeypatch, capfd) -> None:
    """The file is read once, also from standard input; each model scores the same characters."""
    stdin = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfthe lamp\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert cli.main(["eval", "m.safetensors", "words", "other", file, "--json"]) == 0
    out, error = capfd.readouterr()
    rows = json.loads(out)["models"]

    assert [row["model"] for row in rows] == ["m", "words", "other"]
    assert [row["text"] for row in rows] == [file] * 3
    assert [row["tokens"] for row in rows] == [9, 3, 9]
    assert error.count("byte order mark removed") == (file == "-")
    assert opened == []


@pytest.mark.usefixtures("models", "opened")
def test_unknown_symbols_are_charged_by_each_model(tmp_path, capfd) -> None:
    """Each model of several has the score that it has alone."""
    (tmp_path / "new.txt").write_text("the € lamp\n")
    alone = []
    for name in ("words", "other"):
        assert cli.main(["eval", name, "new.txt", "--json"]) == 0
        alone.append(json.loads(capfd.readouterr().out))
    assert cli.main(["eval", "words", "other", "new.txt", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)["models"]

    assert rows == alone
    assert [row["unknown"] for row in rows] == [1, 1]
    costs = [row["bits_per_char_all"] - row["coverage"] * row["bits_per_char"] for row in rows]
    assert costs[0] != pytest.approx(costs[1], rel=0.1)
    assert all(cost > 0 for cost in costs)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["m.safetensors", "wrds"], "'wrds' is neither a model nor a text", "did you mean words?"),
        (
            ["words", "lines.txt", "other"],
            "other is a model, but comes after a text",
            "name the models first",
        ),
        (["wrds"], "no model 'wrds'", "did you mean words?"),
        (
            ["wrds", "lines.txt"],
            "no model 'wrds'",
            "did you mean words? (the first argument must be a model; with -m MODEL all are texts)",
        ),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, message, hint, capfd) -> None:
    """A name that is misspelled or in the wrong place is an error of usage."""
    assert cli.main(["eval", *arguments]) == 2
    first, second = capfd.readouterr().err.splitlines()

    assert first.startswith(f"charnn: error: {message}")
    assert second == f"hint: {hint}"


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ([], "carried (one pass, state carried)"),
        (["--windows", "7"], "windows:7 (independent windows)"),
        (["--dynamic"], "dynamic (one pass, weights updated)"),
    ],
    ids=str,
)
def test_the_protocol_is_explained(options, protocol, opened, capfd) -> None:
    """In the text; JSON has its name only."""
    assert cli.main(["eval", "m.safetensors", *options, "-q"]) == 0
    assert f"\nprotocol          {protocol}\n" in capfd.readouterr().out

    assert cli.main(["eval", "m.safetensors", *options, "-q", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["protocol"] == protocol.partition(" (")[0]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A dataset of records, a model of them and a list of names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("anna\nbob\n\nemily ann\nx" * 12)
    assert cli.main(["prepare", "names.txt", "--lines", "-q"]) == 0
    dataset = open_dataset(tmp_path / "data" / "names")
    shape = tiny_config(vocab_size=dataset.tokenizer.vocab_size)
    model = ModelFile(
        shape,
        dataset.tokenizer,
        dataset.start_token,
        random_tensors(shape, scale=0.3),
        fingerprint=dataset.fingerprint,
        records=True,
    )
    write_model(tmp_path / "m.safetensors", model)
    return dataset


def evaluated(capfd, *arguments):
    assert cli.main(["eval", "m.safetensors", *arguments, "--json", "-q"]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("files", [[], ["names.txt"]], ids=["split", "file"])
def test_records_are_evaluated_as_score_reads_lines(names, files, capfd) -> None:
    """Each line begins from a zero state; its newline is scored too. A file is read by lines."""
    found = evaluated(capfd, *files)
    text = Path("names.txt").read_text() + "\n" if files else names.text("val")
    model = charnn.load("m.safetensors")
    scores = [model.score(line + "\n") for line in text.split("\n")[:-1]]

    assert found["protocol"] == "records"
    assert found["tokens"] == sum(score.tokens for score in scores) == len(text)
    nats = sum(score.nats for score in scores)
    assert found["loss"] == pytest.approx(nats / len(text), rel=1e-5)


@pytest.mark.usefixtures("names")
def test_the_protocol_of_records_is_explained(capfd) -> None:
    """In the text, as of the other protocols."""
    assert cli.main(["eval", "m.safetensors", "-q"]) == 0
    shown = capfd.readouterr().out

    assert re.search(r"^protocol +records \(state reset at each record\)$", shown, re.MULTILINE)


@pytest.mark.parametrize("files", [[], ["lines.txt"]], ids=str)
def test_text_that_rates_are_tuned_on_is_not_scored(files, opened, capfd) -> None:
    """A fifth of the validation split; another text is scored completely."""
    whole = evaluated(capfd, *files, "--dynamic")
    rest = evaluated(capfd, *files, "--dynamic", "--tune")
    left_out = 0 if files else whole["tokens"] // 5

    assert rest["tokens"] == whole["tokens"] - left_out
    assert rest["text"] == (files[0] if files else f"val after token {left_out}")


def test_dynamic_evaluation_of_records(names, capfd) -> None:
    """The same tokens are scored."""
    fixed, dynamic = evaluated(capfd), evaluated(capfd, "--dynamic")

    assert dynamic["protocol"] == "dynamic"
    assert dynamic["tokens"] == fixed["tokens"]
    assert dynamic["loss"] == pytest.approx(fixed["loss"], rel=0.1)


@pytest.mark.parametrize("option", ["--windows", "--streams"])
def test_records_have_no_windows_or_streams(names, option, capfd) -> None:
    """The state is reset at each record."""
    assert cli.main(["eval", "m.safetensors", option, "4"]) == 2
    assert "do not apply to a model of records" in capfd.readouterr().err

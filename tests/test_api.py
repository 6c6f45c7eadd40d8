"""The Python API: load, generate, score."""

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import charnn
from charnn.config import ModelConfig
from charnn.errors import UsageError
from charnn.evaluation.evaluate import evaluate_carried
from charnn.evaluation.metrics import TokenLengths
from charnn.model.language_model import LanguageModel
from charnn.model.model_file import ModelFile, write_model
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.unknown_model import UnknownModel


@pytest.fixture
def path(text, tmp_path):
    tokenizer = CharTokenizer.build(text)
    torch.manual_seed(0)
    config = ModelConfig(
        hidden_size=16, embedding_dim=8, num_layers=2, vocab_size=tokenizer.vocab_size
    )
    tensors = LanguageModel(config).named_tensors()
    arrays = {name: tensor.detach().numpy() * 1.5 for name, tensor in tensors.items()}
    write_model(tmp_path / "m.safetensors", ModelFile(config, tokenizer, 0, arrays))
    return tmp_path / "m.safetensors"


def test_generate_is_reproducible(path) -> None:
    """The same seed gives the same text, of the requested number of characters."""
    model = charnn.load(path)
    one = list(model.generate("the ", max_new_tokens=50, seed=4))

    assert len("".join(one)) == 50
    assert "".join(one) == "".join(model.generate("the ", max_new_tokens=50, seed=4))
    assert "".join(one) != "".join(model.generate("the ", max_new_tokens=50, seed=5))


def test_load_skips_a_damaged_run(path, tmp_path, monkeypatch) -> None:
    """With a warning that names it, at the line of the caller."""
    monkeypatch.setenv("CHARNN_RUNS_DIR", str(tmp_path / "runs"))
    for name, data in (("whole", path.read_bytes()), ("cut", path.read_bytes()[:-4])):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "model.safetensors").write_bytes(data)
    os.utime(tmp_path / "runs" / "whole" / "model.safetensors", (1, 1))
    with pytest.warns(UserWarning, match="skipped damaged runs: cut") as caught:
        assert charnn.load().name == "whole"

    assert caught[0].filename == __file__


def test_generate_ends_before_a_stop_string(path) -> None:
    """A single string and a tuple of one string are equivalent."""
    model = charnn.load(path)
    (stop,) = {"".join(model.generate(max_new_tokens=50, seed=4))[20]}
    text = "".join(model.generate(max_new_tokens=50, seed=4, stop=stop))

    assert len(text) <= 20
    assert text == "".join(model.generate(max_new_tokens=50, seed=4, stop=(stop,)))


def test_model_of_records_generates_one_record(path, tmp_path) -> None:
    """The text ends before the newline, as with `charnn sample`."""
    model = charnn.load(path)
    write_model(tmp_path / "r.safetensors", dataclasses.replace(model.file, records=True))
    texts = ["".join(model.generate(max_new_tokens=500, seed=seed)) for seed in range(4)]
    records = [
        "".join(charnn.load(tmp_path / "r.safetensors").generate(max_new_tokens=500, seed=seed))
        for seed in range(4)
    ]

    assert records == [text.partition("\n")[0] for text in texts]
    assert records != texts


def test_score_equals_evaluation_with_torch(path, text) -> None:
    """NumPy and torch agree on nats, characters, bytes and out-of-vocabulary symbols."""
    model = charnn.load(path)
    loaded = model.file
    network = LanguageModel(loaded.config)
    network.load_tensors({name: torch.tensor(t) for name, t in loaded.tensors.items()})
    ids = loaded.tokenizer.encode(text + "é").ids
    expected = evaluate_carried(network, ids, TokenLengths.of(loaded.tokenizer), 0)
    score = model.score(text + "é")

    assert math.isclose(score.nats, expected.nats, rel_tol=1e-5)
    assert (score.tokens, score.chars, score.bytes) == (len(text),) * 3
    assert score.unknown == expected.unknown == 1
    assert score.coverage == len(text) / (len(text) + 1)


def test_all_next_characters_are_a_distribution(path) -> None:
    """Those in the vocabulary and the others share a probability of one at most."""
    file = dataclasses.replace(
        charnn.load(path).file, unknown_model=UnknownModel(0.2, ["é", "q", "ü"], ends=False)
    )
    model = charnn.Model(file)

    def probability(text: str) -> float:
        score = model.score(text)
        return math.exp(-score.nats - score.charge)

    letters = [chr(code) for code in range(0x180)]
    known = [letter for letter in letters if letter.encode() in file.tokenizer.pieces]
    total, of_known = (
        sum(probability(f"the {letter}") for letter in some) / probability("the ")
        for some in (letters, known)
    )
    assert 0.5 < of_known < 0.8 < total <= 1


def test_score_of_unknown_symbols_is_that_of_the_model(path) -> None:
    """They are part of the bits of all characters; without a model these are not known."""
    unknown_model = UnknownModel(0.25, ["é"], ends=False)
    old = charnn.load(path)
    model = charnn.Model(dataclasses.replace(old.file, unknown_model=unknown_model))
    score, known = model.score("the éé"), model.score("the ")

    assert score.unknown == score.unknown_chars == 2
    added = unknown_model.nats(["é", "é"]).sum() - 4 * math.log(0.75)
    assert score.charge == pytest.approx(added)
    assert score.bits_per_char_all == pytest.approx((score.nats + added) / 6 / math.log(2))
    assert score.bits_per_char == known.bits_per_char
    assert repr(score).startswith(f"Score(bits_per_char={score.bits_per_char:.4f}, coverage=66.7%")
    assert math.isnan(old.score("the é").bits_per_char_all)
    assert math.isfinite(model.score("é").bits_per_char_all)


def test_arguments_are_validated(path) -> None:
    """A negative temperature is a usage error that names the argument."""
    model = charnn.load(path)
    for arguments in ({"temperature": -1}, {"temp": -1}):
        with pytest.raises(UsageError, match=r"^temperature is -1"):
            model.generate(**arguments)
    with pytest.raises(UsageError, match=r"^stop must not be an empty string"):
        model.generate(stop="")


def test_temp_is_temperature(path) -> None:
    """The short name of the command line works too."""
    model = charnn.load(path)
    one, two = (
        "".join(model.generate(max_new_tokens=30, seed=3, **t))
        for t in ({"temp": 0.2}, {"temperature": 0.2})
    )
    assert one == two != "".join(model.generate(max_new_tokens=30, seed=3))


def test_objects_describe_themselves(path) -> None:
    """A model its network, a score its metrics and counts."""
    model = charnn.load(path)
    described = repr(model.score("the lamp é"))

    assert repr(model).startswith("Model('m': LSTM 2×16, ")
    assert "weights" in repr(model)
    assert described.startswith("Score(bits_per_char=")
    assert described.endswith("tokens=9, chars=9, bytes=9, unknown=1)")


def test_public_names() -> None:
    """`dir` shows those and nothing else; each can be imported, and a wrong one is an error."""
    assert dir(charnn) == sorted(charnn.__all__)
    assert all(getattr(charnn, name) is not None for name in charnn.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = charnn.nonsense


def test_prepare_train_generate(text, tmp_path, monkeypatch) -> None:
    """As with the commands, in the folders that the environment names."""
    monkeypatch.setenv("CHARNN_DATA_DIR", str(tmp_path / "d"))
    monkeypatch.setenv("CHARNN_RUNS_DIR", str(tmp_path / "r"))
    (tmp_path / "lamp.txt").write_text(text * 2)
    prepared = charnn.prepare(tmp_path / "lamp.txt", val_frac=0.2)
    assert (prepared.name, prepared.folder) == ("lamp", tmp_path / "d" / "lamp")
    assert repr(prepared).startswith(f"Prepared('{tmp_path}/d/lamp', tokenizer='char', vocab_size=")

    training = charnn.train(
        prepared, preset="tiny", hidden_size=8, steps=20, threads=1, precision="float32"
    )
    assert repr(training) == f"Training('{tmp_path}/r/lamp-lstm-001', LSTM 1×8, dataset='lamp')"
    result = training.run()
    assert isinstance(result, charnn.Result)
    assert (result.run, result.steps) == ("lamp-lstm-001", 20)

    model = charnn.load(training.folder)
    assert len("".join(model.generate("the ", max_new_tokens=20))) == 20
    assert "trained on lamp" in repr(charnn.load("lamp"))
    tuned = charnn.train("lamp", init_from="lamp-lstm-001", steps=10, precision="float32")
    steps = [event.step for event in tuned if isinstance(event, charnn.Step)]
    assert steps == list(range(1, 11))


def test_wrong_settings_of_prepare_and_train_are_named(text, tmp_path) -> None:
    """By argument; unknown ones with the nearest, and no file is written."""
    (tmp_path / "lamp.txt").write_text(text)
    with pytest.raises(UsageError, match="val and val_frac cannot be combined"):
        charnn.prepare(tmp_path / "lamp.txt", val="x", val_frac=0.1, data_dir=tmp_path)
    with pytest.raises(UsageError, match="'learning_rate'"):
        charnn.train(data_dir=tmp_path, learning_rate=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="one of epochs, steps, minutes, not epochs and steps"):
        charnn.train(data_dir=tmp_path, epochs=1.0, steps=2)
    with pytest.raises(UsageError, match="no dataset 'nothing'"):
        charnn.train("nothing", data_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lamp.txt"]


def test_api_does_not_import_torch(path) -> None:
    """`import charnn` does not import NumPy, and `charnn.load` does not import torch."""
    script = (
        "import sys, charnn\n"
        "assert 'numpy' not in sys.modules\n"
        f"''.join(charnn.load({str(path)!r}).generate(max_new_tokens=3))\n"
        "assert 'torch' not in sys.modules and 'tokenizers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_score_of_an_empty_text_is_nan(path) -> None:
    """There are no tokens and no loss, and it is not an error."""
    assert charnn.load(path).score("").tokens == 0
    assert np.isnan(charnn.load(path).score("").loss)

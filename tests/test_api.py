"""The Python API: load, generate, score."""

import dataclasses
import math
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


def test_arguments_are_validated(path) -> None:
    """A negative temperature is a usage error."""
    with pytest.raises(UsageError, match="--temperature"):
        charnn.load(path).generate(temperature=-1)


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

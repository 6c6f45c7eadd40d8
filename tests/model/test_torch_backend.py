"""The PyTorch backend: same logits and same texts as NumPy."""

import numpy as np
import pytest
import torch

from charnn.config import SampleConfig
from charnn.generation.constraints import constrain
from charnn.generation.generate import Piece, Request, feed, generate, initial_context
from charnn.model import torch_backend
from charnn.model.language_model import with_weights
from charnn.model.model_file import ModelFile
from charnn.model.numpy_model import NumpyModel
from charnn.model.torch_backend import TorchModel
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import random_tensors, tiny_config

LETTERS = CharTokenizer.build("abcdefgh .\n")
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def both(cell, device, **shape):
    config = tiny_config(cell, 2, vocab_size=LETTERS.vocab_size, **shape)
    tensors = random_tensors(config)
    network = with_weights(ModelFile(config, LETTERS, 0, tensors)).to(device)
    return NumpyModel(config, tensors), TorchModel(network)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_logits_and_states_agree_with_numpy(cell, tie, device) -> None:
    """After steps, after a text fed at once, and after a stream is reset."""
    models = both(cell, device, tie=tie)
    ids = np.random.default_rng(1).integers(0, LETTERS.vocab_size, (3, 9))
    pair = [network.streams(network.initial_state(3)) for network in models]
    for streams in pair:
        streams.feed(ids)
        streams.put(slice(1, 2), models[0].initial_state())

    ours, torchs = (streams.step(ids[:, 0]) for streams in pair)
    assert ours == pytest.approx(torchs, abs=1e-4)
    assert pair[0].predict() == pytest.approx(pair[1].predict(), abs=1e-4)
    for a, b in zip(pair[0].state, pair[1].state, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_log_probs_agree_with_numpy(monkeypatch, device) -> None:
    """Over several chunks, with NaN for negative targets; the final states agree too."""
    monkeypatch.setattr(torch_backend, "CHUNK", 10)
    ids, targets = np.random.default_rng(1).integers(0, LETTERS.vocab_size, (2, 3, 25))
    targets[targets == 4] = -1
    pair = [network.streams(network.initial_state(3)) for network in both("gru", device)]
    ours, torchs = (streams.log_probs(ids, targets) for streams in pair)

    assert np.isnan(ours).any()
    assert ours == pytest.approx(torchs, abs=1e-4, nan_ok=True)
    assert pair[0].predict() == pytest.approx(pair[1].predict(), abs=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_generated_texts_match_numpy(device) -> None:
    """With filters, a prompt, and more samples than the batch size."""
    request = Request(
        SampleConfig(temperature=0.9, max_new_tokens=30, top_k=8, repetition_penalty=1.1),
        constrain(LETTERS.pieces, LETTERS.unk_id, ban="h"),
        seed=3,
        samples=70,
        stop=("a.",),
    )
    texts = []
    for network in both("lstm", device, hidden_size=16):
        context = feed(network, initial_context(network, 0), LETTERS.encode("abc").ids)
        texts.append(
            [
                (event.index, event.data) if isinstance(event, Piece) else event.finish
                for event in generate(network, LETTERS, request, context)
            ]
        )

    assert texts[0] == texts[1]

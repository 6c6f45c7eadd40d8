"""Fixtures for all tests: a short text, and tiny networks with fixed weights."""

import signal

from charnn.commands.threads import set_up_torch

set_up_torch()  # must be called before torch is loaded

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from charnn.config import ModelConfig  # noqa: E402
from charnn.data.splits import split_text  # noqa: E402
from charnn.model.language_model import Dropouts, LanguageModel  # noqa: E402
from tests.terminal import PseudoTerminal  # noqa: E402
from tests.tiny import written_dataset  # noqa: E402

TEXT = (
    "the lamp on the stair will not stay lit, said the keeper of the light.\n"
    "then light it again, said the sea.\n"
)


@pytest.fixture(autouse=True)
def _denormals():
    """Restore denormal numbers, which training flushes to zero in the whole process."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _default_signals():
    """Set the default handlers; nohup ignores SIGHUP, and `&` in a script ignores SIGINT."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def text() -> str:
    """Return about two kilobytes of repetitive English."""
    return TEXT * 20


@pytest.fixture
def dataset(tmp_path, text):
    """Return that text, prepared with the char tokenizer in the folder "d"."""
    return written_dataset(tmp_path / "d", split_text(text, 0.1, 0))


@pytest.fixture
def make_model():
    """Return a function that builds a small network with reproducible weights and biases."""

    def build(
        cell="lstm", num_layers=1, *, tie=False, vocab_size=11, hidden_size=7, seed=1, **dropouts
    ):
        torch.manual_seed(seed)
        config = ModelConfig(
            cell=cell,
            hidden_size=hidden_size,
            num_layers=num_layers,
            embedding_dim=hidden_size if tie else 5,
            tie_weights=tie,
            vocab_size=vocab_size,
        )
        model = LanguageModel(config, Dropouts(**dropouts))
        with torch.no_grad():
            for name, tensor in model.named_tensors().items():
                if "bias" in name:
                    tensor.add_(torch.randn_like(tensor) * 0.3)
        return model

    return build


@pytest.fixture
def ids():
    """Return a thousand token ids below eleven, some more frequent than others."""
    random = np.random.default_rng(7)
    return np.minimum(random.geometric(0.25, 1000) - 1, 10).astype(np.uint8)


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that opens a terminal with a number of columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return PseudoTerminal


@pytest.fixture
def drawn(monkeypatch):
    """Return a list of the figures that were saved."""
    figures = []
    save = Figure.savefig

    def remember(self, *arguments, **options):
        figures.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return figures

"""Saved generation states: round trip, and validation of files."""

import numpy as np
import pytest

from charnn.config import SampleConfig
from charnn.errors import DataError
from charnn.generation.constraints import constrain
from charnn.generation.generate import Context, Piece, Request, Sample, generate, initial_context
from charnn.generation.state_file import FORMAT, read_state, write_state
from charnn.storage import safetensors_file
from charnn.tokenizers.char import CharTokenizer
from tests.tiny import tiny_model

LETTERS = CharTokenizer.build("abcdefgh .\n")
STEPPER = tiny_model("lstm", 2, vocab_size=LETTERS.vocab_size, hidden_size=16)
SHA = "a" * 64


def sample(context, tokens, **settings):
    """Return the text of one sample and the context at its end."""
    request = Request(
        SampleConfig(temperature=1.0, max_new_tokens=tokens, **settings),
        constrain(LETTERS.pieces, LETTERS.unk_id),
        context.seed,
    )
    events = list(generate(STEPPER, LETTERS, request, context))
    text = b"".join(event.data for event in events if isinstance(event, Piece)).decode()
    return text, next(event.context for event in events if isinstance(event, Sample))


@pytest.mark.parametrize("cut", [0, 1, 17, 70, 99, 100])
def test_continuing_from_a_state_gives_the_same_text(tmp_path, cut) -> None:
    """Random numbers and the window of the repetition penalty are continued too."""
    start = initial_context(STEPPER, 0)._replace(seed=7)
    settings = {"repetition_penalty": 1.3}
    full, _ = sample(start, 100, **settings)
    first, context = sample(start, cut, **settings)
    write_state(tmp_path / "s", context, SHA)
    rest, _ = sample(read_state(tmp_path / "s", STEPPER, SHA), 100 - cut, **settings)

    assert first + rest == full


def test_state_file_is_reproducible(tmp_path) -> None:
    """The same state gives the same bytes."""
    _, context = sample(initial_context(STEPPER, 0), 5)
    for name in "ab":
        write_state(tmp_path / name, context, SHA)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_state_at_any_position_of_the_random_stream(tmp_path) -> None:
    """A very large position is reached at once and counted on."""
    start = initial_context(STEPPER, 0)._replace(seed=7, drawn=10**39)
    write_state(tmp_path / "s", start, SHA)
    _, end = sample(read_state(tmp_path / "s", STEPPER, SHA), 5)

    assert end.drawn == 10**39 + 5


def test_state_of_another_model_is_a_data_error(tmp_path) -> None:
    """This holds for a model of the same shape too."""
    write_state(tmp_path / "s", initial_context(STEPPER, 0), SHA)

    with pytest.raises(DataError, match="another model"):
        read_state(tmp_path / "s", STEPPER, "b" * 64)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (lambda c: c._replace(state=c.state[:-1]), "missing"),
        (lambda c: c._replace(state=(*c.state, c.state[0])), "unexpected"),
        (lambda c: c._replace(state=tuple(part[:, 1:] for part in c.state)), "should be"),
        (lambda c: c._replace(state=tuple(part * np.nan for part in c.state)), "not finite"),
        (lambda c: c._replace(recent=np.array([99])), "not in the vocabulary"),
        (lambda c: c._replace(recent=np.array([-1])), "not in the vocabulary"),
        (lambda c: c._replace(recent=np.zeros(1000, np.int64)), "at most 64"),
        (lambda c: c._replace(recent=np.zeros(3, np.int32)), "should be I64"),
        (lambda c: c._replace(drawn=-1), "not a number"),
        (lambda c: c._replace(seed="x"), "not a number"),
    ],
)
def test_invalid_state_is_a_data_error(tmp_path, context, message) -> None:
    """Shapes, dtypes, values and numbers are validated against the model."""
    write_state(tmp_path / "s", context(initial_context(STEPPER, 0)), SHA)

    with pytest.raises(DataError, match=message):
        read_state(tmp_path / "s", STEPPER, SHA)


def test_damaged_file_is_a_data_error(tmp_path) -> None:
    """Truncation at any length and a flipped bit at any position are detected."""
    path = tmp_path / "s"
    write_state(path, Context(initial_context(STEPPER, 0).state, np.arange(3)), SHA)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in [0, 1, 7, 8, 9, *rng.integers(10, len(data), 30).tolist(), len(data) - 1]:
        path.write_bytes(data[:cut])
        with pytest.raises(DataError):
            read_state(path, STEPPER, SHA)
    for position in rng.integers(0, len(data), 100).tolist():
        path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        try:
            read_state(path, STEPPER, SHA)
        except DataError:
            continue
        strings = safetensors_file.unpack(path, FORMAT, 1, "charnn").strings
        assert strings["seed"] != "0" or strings["drawn"] != "0" or data[position] == 32

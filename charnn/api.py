"""The Python API: load a model, generate text from it, score text with it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from charnn.config import ModelConfig, SampleConfig, validate
from charnn.evaluation.line_reader import cut_line
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.evaluation.surprisal import ModelReader, Passage
from charnn.generation.generate import generate_text
from charnn.model.model_file import ModelFile, read_model
from charnn.model.numpy_model import NumpyModel
from charnn.storage.workspace import find_model, runs_dir
from charnn.tokenizers.utf8 import to_utf8

DEFAULTS = SampleConfig()


class Model:
    """A trained model; needs NumPy but not torch.

    >>> model = charnn.load("runs/lamplighter-lstm-001")
    >>> print("".join(model.generate("The lamp ", max_new_tokens=200, seed=1)))
    >>> model.score("The lamp went out.").bits_per_char
    """

    def __init__(self, loaded: ModelFile) -> None:
        self.file = loaded
        self._model = NumpyModel(loaded.config, loaded.tensors)

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return self.file.config

    def generate(
        self,
        prompt: str = "",
        *,
        temperature: float = DEFAULTS.temperature,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        top_k: int = DEFAULTS.top_k,
        top_p: float = DEFAULTS.top_p,
        min_p: float = DEFAULTS.min_p,
        repetition_penalty: float = DEFAULTS.repetition_penalty,
        stop: str | Sequence[str] = (),
        match: str | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Return an iterator over the pieces of new text, without the prompt, as it is generated.

        The arguments mean the same as the options of `charnn sample`; -1 for `max_new_tokens` is
        no limit. The same seed gives the same text. A model of records, one per line, stops before
        the newline. Raise UsageError if an argument is out of range or the prompt contains
        out-of-vocabulary symbols.
        """
        config = validate(
            SampleConfig,
            {
                "temperature": temperature,
                "max_new_tokens": max_new_tokens,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "repetition_penalty": repetition_penalty,
            },
        )
        stops = [stop] if isinstance(stop, str) else stop
        return generate_text(
            self.file, self._model, config, prompt=prompt, stop=stops, match=match, seed=seed
        )

    def score(self, text: str) -> Score:
        """Return the score of all tokens of a text, in one pass with carried hidden state.

        Out-of-vocabulary symbols are fed as `<unk>` and counted, but not scored.
        """
        tokenizer, start_token = self.file.tokenizer, self.file.start_token
        passage = Passage(ModelReader(self._model), tokenizer, start_token)
        lengths, score = TokenLengths.of(tokenizer), Score()
        for part in cut_line(to_utf8(text)):
            scored = passage.feed(part)
            score += lengths.score(scored.nats, scored.ids)
        return score


def load(path: str | Path | None = None) -> Model:
    """Load the model of a run, given by name or folder, or a model file; by default the newest.

    Raise StorageError if there is none, DataError if the file is damaged.
    """
    return Model(read_model(find_model(None if path is None else str(path), runs_dir())))

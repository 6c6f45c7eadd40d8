"""The Python API: load a model, generate text from it, score text with it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from charnn.config import ModelConfig, SampleConfig, validate
from charnn.evaluation.line_reader import pieces
from charnn.evaluation.metrics import Score, TokenLengths
from charnn.evaluation.surprisal import Passage, StepperReader
from charnn.generation.constraints import constrain
from charnn.generation.generate import Piece, Request, encode_prompt, generate, opening, read
from charnn.model.model_file import ModelFile, read_model
from charnn.model.numpy_model import Stepper
from charnn.storage.workspace import find_model, runs_dir


class Model:
    """A trained model, ready to use; needs NumPy but no torch.

    >>> model = charnn.load("runs/lamplighter-lstm-001")
    >>> print("".join(model.generate("The lamp ", max_new_tokens=200, seed=1)))
    >>> model.score("The lamp went out.").bits_per_char
    """

    def __init__(self, loaded: ModelFile) -> None:
        self.file = loaded
        self._stepper = Stepper(loaded.config, loaded.tensors)

    @property
    def config(self) -> ModelConfig:
        """The shape of the network."""
        return self.file.config

    def generate(
        self,
        prompt: str = "",
        *,
        temperature: float = 0.8,
        max_new_tokens: int = 2000,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        stop: str | Sequence[str] = (),
        match: str | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Pieces of new text after the prompt, as they are drawn; the same seed, the same text.

        The settings mean what the flags of `charnn sample` mean; `max_new_tokens` -1 is endless,
        and a model of records, one a line, ends its text before the newline.
        Raises UsageError for a setting out of range, or a symbol that the model does not know.
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
        tokenizer = self.file.tokenizer
        constraint = constrain(tokenizer.pieces, tokenizer.unk_id, match=match)
        stops = self.file.stops([stop] if isinstance(stop, str) else stop)
        request = Request(config, constraint, seed, stop=stops)
        context = opening(self._stepper, self.file.start_token)
        if prompt:
            context = read(self._stepper, context, encode_prompt(tokenizer, prompt))
        events = generate(self._stepper, tokenizer, request, context)
        return (event.text for event in events if isinstance(event, Piece))

    def score(self, text: str) -> Score:
        """How well the model predicts a text, from its first token on, in one carried pass.

        Symbols that the model does not know are fed as `<unk>`, counted, and not scored.
        """
        tokenizer, start_token = self.file.tokenizer, self.file.start_token
        passage = Passage(StepperReader(self._stepper), tokenizer, start_token)
        lengths, data, score = (
            TokenLengths.of(tokenizer),
            text.encode("utf-8", "surrogatepass"),
            Score(),
        )
        for part in pieces(data):
            scored = passage.feed(part)
            score += lengths.score(scored.nats, scored.ids)
        return score


def load(path: str | Path | None = None) -> Model:
    """The model of a run (its name or folder) or in a file; without a path, the newest one.

    Raises StorageError where there is none, DataError for a file that is damaged.
    """
    return Model(read_model(find_model(None if path is None else str(path), runs_dir())))

"""The Python API: prepare datasets, train, load a model, generate text from it, score text with it.

Training needs torch, everything else NumPy only; both are imported when they are needed.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from charnn.arguments import PrepareSettings, TrainSettings, argument_names
from charnn.config import ModelConfig, SampleConfig, validate
from charnn.data.prepare import (
    Prepared,
    check_options,
    dataset_name,
    prepare_dataset,
    read_splits,
)
from charnn.evaluation.line_reader import cut_line
from charnn.evaluation.metrics import Score
from charnn.evaluation.surprisal import ModelReader, Passage
from charnn.generation.generate import generate_text
from charnn.model.model_file import ModelFile, read_tokenizer
from charnn.model.numpy_model import NumpyModel
from charnn.model.runs import open_model
from charnn.storage import workspace
from charnn.tokenizers.utf8 import to_utf8

if TYPE_CHECKING:
    from charnn.training.training import Training

DEFAULTS = SampleConfig()


class Model:
    """A trained model; needs NumPy but not torch.

    >>> model = charnn.load("runs/lamplighter-lstm-001")
    >>> print("".join(model.generate("The lamp ", max_new_tokens=200, seed=1)))
    >>> model.score("The lamp went out.").bits_per_char
    """

    def __init__(self, loaded: ModelFile, name: str = "") -> None:
        self.file = loaded
        self.name = name
        self._model = NumpyModel(loaded.config, loaded.tensors)

    def __repr__(self) -> str:
        summary = ", ".join(self.file.summary())
        return f"Model({self.name!r}: {summary})"

    @property
    def config(self) -> ModelConfig:
        """The configuration of the network."""
        return self.file.config

    @argument_names()
    def generate(
        self,
        prompt: str = "",
        *,
        temperature: float = DEFAULTS.temperature,
        temp: float | None = None,
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

        The arguments have the meaning of the options of `charnn sample`. `temp` is a short name of
        `temperature`; a `max_new_tokens` of -1 means no limit. The same seed gives the same text. A
        model of records, one per line, stops before the newline. Raise UsageError if an argument is
        out of range or the prompt contains out-of-vocabulary symbols.
        """
        config = validate(
            SampleConfig,
            {
                "temperature": temperature if temp is None else temp,
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

        As in `charnn score --whole`, out-of-vocabulary symbols are fed as `<unk>`, counted in
        `unknown`, and left out of the loss; `bits_per_char_all` includes them.
        """
        file = self.file
        passage = Passage(
            ModelReader(self._model), file.tokenizer, file.start_token, file.unknown_model
        )
        parts = cut_line(to_utf8(text))
        return sum((passage.total(passage.feed(part)) for part in parts), Score())


@argument_names()
def load(path: str | Path | None = None) -> Model:
    """Load the model of a run, given by name or folder, or a model file.

    The name of a dataset stands for its newest run; the default is the newest finished run. Damaged
    runs are then skipped with a warning. Raise UsageError if a name does not exist, StorageError if
    a path does not exist, DataError if the file is damaged.
    """
    opened = open_model(None if path is None else str(path), workspace.runs_dir())
    if opened.note:
        warnings.warn(opened.note, stacklevel=3)  # of the caller, behind the decorator
    return Model(opened.file, opened.name)


@argument_names()
def prepare(
    sources: str | Path | Sequence[str | Path] = (),
    *,
    name: str | None = None,
    val: str | Path | None = None,
    test: str | Path | None = None,
    tokenizer_from: str | Path | None = None,
    force: bool = False,
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    **settings: Unpack[PrepareSettings],
) -> Prepared:
    """Prepare a dataset from files, folders, globs or named corpora, as `charnn prepare` does.

    >>> prepared = charnn.prepare("book.txt", name="book", val_frac=0.05)

    Without sources, the embedded corpus is prepared. `settings` are the
    [settings](settings.md#charnn-prepare) of `charnn prepare`. An existing dataset is replaced only
    with `force`. Raise UsageError, DataError or StorageError, or BusyError if the dataset to
    replace is being used by a training run.
    """
    arguments = [str(source) for source in _listed(sources)]
    from_, val, test = (None if path is None else str(path) for path in (tokenizer_from, val, test))
    data_folder, runs_folder = _folders(data_dir, runs_dir)
    check_options(settings, val, test, from_)
    name = workspace.check_name(name or dataset_name(arguments))
    skip = [data_folder, runs_folder]
    reading = read_splits(arguments, settings, val=val, test=test, skip=skip)
    tokenizer = None
    if from_ is not None:
        tokenizer = read_tokenizer(workspace.find_tokenizer(from_, data_folder, runs_folder))
    return prepare_dataset(reading, name, data_folder, settings, tokenizer=tokenizer, replace=force)


@argument_names()
def train(
    data: str | Path | Prepared | None = None,
    *,
    name: str | None = None,
    resume: str | Path | bool = False,
    init_from: str | Path | None = None,
    force: bool = False,
    baselines: bool = True,
    data_dir: str | Path | None = None,
    runs_dir: str | Path | None = None,
    **settings: Unpack[TrainSettings],
) -> "Training":
    """Return a run that is ready to train on a dataset, by default the newest.

    >>> result = charnn.train("book", minutes=1).run()
    >>> for event in charnn.train("book", steps=100):
    >>>     print(event)

    `settings` are the [settings](settings.md#charnn-train) of `charnn train`. `resume` names a run
    to resume from its last checkpoint, or is True for the newest stopped run. A new run starts from
    the weights of the model `init_from`, if given. An existing run is replaced only with `force`.
    With `baselines`, the result includes the bits per character of a unigram, a 5-gram and xz.
    Raise UsageError for wrong settings and for names that do not exist, DataError or StorageError.
    """
    from charnn.training.run_plan import plan_run
    from charnn.training.training import Training

    dataset = data.folder if isinstance(data, Prepared) else data
    given = dict(settings) if dataset is None else {**settings, "data": str(dataset)}
    data_folder, runs_folder = _folders(data_dir, runs_dir)
    plan = plan_run(
        given,
        data_folder,
        runs_folder,
        name=name,
        resume=None if resume is False else "" if resume is True else str(resume),
        init_from=None if init_from is None else str(init_from),
        force=force,
    )
    return Training(plan, force=force, baselines=baselines)


def _listed(sources: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    return [sources] if isinstance(sources, str | Path) else sources


def _folders(data_dir: str | Path | None, runs_dir: str | Path | None) -> tuple[Path, Path]:
    """Return the folders of datasets and runs; by default those of the environment."""
    return Path(data_dir or workspace.data_dir()), Path(runs_dir or workspace.runs_dir())

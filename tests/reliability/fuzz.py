"""Mutate valid files and read them: each is read, or refused with an error for the user.

    python -m tests.reliability.fuzz [--seconds 60] [--seed 1] [TARGET …]

Anything else is a finding: another exception, a warning, more than TIMEOUT seconds, or more memory
than MEMORY. Findings are written to fuzz-findings/, and the exit code is then 1.
"""

import argparse
import copy
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from charnn.commands.info import _as_text, _describe_dataset, _describe_model
from charnn.config import PrepareConfig, SampleConfig, TrainConfig, validate
from charnn.data.corpora import Catalogue
from charnn.data.dataset import Dataset, open_dataset
from charnn.data.prepare import prepare
from charnn.data.sources import read_sources
from charnn.data.splits import split_text
from charnn.display.learning_curves import Curve
from charnn.display.terminal_plot import terminal_curves
from charnn.errors import CharnnError
from charnn.generation import generate
from charnn.generation.constraints import constrain
from charnn.generation.state_file import read_state, write_state
from charnn.model.model_file import read_model
from charnn.model.numpy_model import NumpyModel
from charnn.storage.jsonio import to_json
from charnn.storage.settings_file import dump_settings, read_settings
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer
from charnn.training.checkpoint import load_newest
from charnn.training.metrics_log import read_metrics, truncate_log
from charnn.training.resolve import resolve_machine
from charnn.training.snapshot import restore
from charnn.training.trainer import Trainer
from tests.reliability import craft
from tests.reliability.conftest import TINY
from tests.shell.conftest import LAMP
from tests.tiny import written_dataset

TIMEOUT = 5  # seconds per input; it usually takes hundredths of a second
MOST_PLACES = 200  # of one list or object that may be changed
MEMORY = 8 << 30  # bytes of address space
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 255, 256, 65_536, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0),
    *(0.5, "", "0", "\x1b[2J", "\ud800", "é" * 50, [], {}, [[]], [0], {"": 0}, "x" * 10_000),
)
ODD_BYTES = (b"\0", b"\xff", b"\x80", b"\n", b'"', b"{", b"[" * 50, b"\xf0\x9f", b"-", b"9" * 30)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some of them changed, removed, repeated, or inserted."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(out) + 1)
        length = chance.choice((1, 2, 4, 8, 64, 1024))
        kind = chance.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = chance.randrange(256)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            out[at:at] = chance.choice(ODD_BYTES)
        else:
            del out[at:]
    return bytes(out)


def mutated_json(value: Any, chance: random.Random) -> Any:
    """Return a JSON value with one place in it replaced, removed, renamed or extended."""
    value = copy.deepcopy(value)
    holder, key = chance.choice(list(_places(value)) or [([value], 0)])
    kind = chance.randrange(5)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(chance.choice(ODD_VALUES))[:100]] = holder.pop(key)
    elif kind == 2 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] += chance.choice((-1, 1, 1000, 2**32))
    elif kind == 3:
        holder[key] = [holder[key]] * chance.choice((0, 1, 2))
    else:
        holder[key] = chance.choice(ODD_VALUES)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:MOST_PLACES]:
            yield value, key
            yield from _places(value[key])


def new_trainer(dataset: Dataset, folder: Path) -> Trainer:
    """Return a trainer of a tiny run."""
    config = resolve_machine(TrainConfig(**TINY), dataset).config
    return Trainer(dataset, config, folder)


def either(data: bytes, chance: random.Random) -> bytes:
    """Return a JSON file mutated as bytes or as a value."""
    if chance.random() < 0.5:
        return mutated(data, chance)
    return json.dumps(mutated_json(json.loads(data), chance)).encode()


class Targets:
    """Each public method mutates a file of one kind and reads it as a command would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = written_dataset(folder / "lamp", split_text(LAMP * 10, 0.1, 0))
        self.trainer = new_trainer(self.dataset, folder / "run")
        self.trainer.folder.create(force=False)
        for _ in self.trainer.events():
            pass
        self.trainer.save()
        self.model = self.trainer.folder.model_path
        self.checkpoint = load_newest(folder / "run")[0].source
        self.real = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        self.tokenizers = [dump_tokenizer(self._tokenizer(kind)) for kind in sorted(TOKENIZERS)]

    @staticmethod
    def _tokenizer(kind: str) -> Any:
        return TOKENIZERS[kind].build(LAMP.encode() if kind == "byte" else LAMP)

    def model_bytes(self, chance: random.Random) -> None:
        """A model file with mutated bytes."""
        self.model.write_bytes(mutated(self.real[self.model], chance))
        self._use_model()

    def model_header(self, chance: random.Random) -> None:
        """A model file with a mutated header."""
        header, body = craft.parts(self._restored(self.model))
        strings = header["__metadata__"]
        name = chance.choice((*strings, "entries"))
        if name == "entries":
            header = mutated_json(header, chance)
        elif name in ("config", "tokenizer", "metrics", "training"):
            strings[name] = either(strings[name].encode(), chance).decode("utf-8", "replace")
        else:
            strings[name] = mutated(strings[name].encode(), chance).decode("utf-8", "replace")
        self.model.write_bytes(craft.sealed(header, body))
        self._use_model()

    def model_weights(self, chance: random.Random) -> None:
        """A model file with mutated weights and a matching hash."""
        _, body = craft.parts(self._restored(self.model))
        craft.change(self.model, body=mutated(body, chance))
        self._use_model()

    def _use_model(self) -> None:
        model = read_model(self.model)
        to_json(_describe_model(self.model, model)[1])
        headline, description = _describe_model(self.model, model)
        f"{headline}{_as_text(description)}".encode()
        network = NumpyModel(model.config, model.tensors)
        start = generate.initial_context(network, model.start_token)
        prompt = generate.encode_prompt(model.tokenizer, LAMP[:20], "skip")
        request = generate.Request(
            config=SampleConfig(max_new_tokens=5),
            constraint=constrain(model.tokenizer.pieces, model.tokenizer.unk_id),
            seed=1,
        )
        context = generate.feed(network, start, prompt)
        for _ in generate.generate(network, model.tokenizer, request, context):
            pass

    def tokenizer(self, chance: random.Random) -> None:
        """A tokenizer.json of each kind."""
        text = either(chance.choice(self.tokenizers).encode(), chance)
        tokenizer = load_tokenizer(text.decode("utf-8", "replace"))
        tokenizer.decode(tokenizer.encode(LAMP[:50]).ids)
        assert load_tokenizer(dump_tokenizer(tokenizer)).pieces == tokenizer.pieces

    def meta(self, chance: random.Random) -> None:
        """The manifest of a dataset."""
        path = self.dataset.folder / "meta.json"
        path.write_bytes(either(self.real[path], chance))
        self._use_dataset()

    def tokens(self, chance: random.Random) -> None:
        """The tokens of a dataset, with a matching hash."""
        self._restored(self.dataset.folder / "meta.json")
        path = self.dataset.folder / "train.bin"
        craft.reseal_dataset(path.parent, path.name, mutated(self.real[path], chance))
        self._use_dataset()

    def _use_dataset(self) -> None:
        dataset = open_dataset(self.dataset.folder)
        to_json(_describe_dataset(dataset.folder))
        headline, description = _describe_dataset(dataset.folder)
        f"{headline}{_as_text(description)}".encode()
        new_trainer(dataset, self.folder / "other").loop.update()

    def training_state(self, chance: random.Random) -> None:
        """The counters of a checkpoint, with a matching hash."""
        folder = Path(self.checkpoint)
        self._restored_checkpoint()
        data = either(self.real[folder / "state.json"], chance)
        craft.reseal(folder, "state.json", data)
        self._use_checkpoint()

    def training_tensors(self, chance: random.Random) -> None:
        """The tensors of a checkpoint, bytes or header, with a matching hash."""
        folder = Path(self.checkpoint)
        self._restored_checkpoint()
        data = mutated(self.real[folder / "state.safetensors"], chance)
        if chance.random() < 0.5:
            header, body = craft.parts(folder / "state.safetensors")
            data = craft.sealed(mutated_json(header, chance), body)
        craft.reseal(folder, "state.safetensors", data)
        self._use_checkpoint()

    def manifest(self, chance: random.Random) -> None:
        """The manifest of a checkpoint."""
        path = Path(self.checkpoint) / "manifest.json"
        self._restored_checkpoint()
        path.write_bytes(either(self.real[path], chance))
        self._use_checkpoint()

    def _use_checkpoint(self) -> None:
        state, _ = load_newest(self.trainer.folder.path)
        restore(self.trainer.loop, state, self.dataset.fingerprint)
        self.trainer.loop.update()

    def sample_state(self, chance: random.Random) -> None:
        """A generation state, as `sample --save-state` writes it."""
        model = read_model(self._restored(self.model))
        network = NumpyModel(model.config, model.tensors)
        path = self.folder / "context"
        write_state(path, generate.initial_context(network, model.start_token), model.sha256)
        header, body = craft.parts(path)
        whole = chance.random() < 0.5
        sealed = craft.sealed(mutated_json(header, chance), body)
        path.write_bytes(mutated(path.read_bytes(), chance) if whole else sealed)
        context = read_state(path, network, model.sha256)
        network.streams(context.state).step(np.array([0]))

    def settings(self, chance: random.Random) -> None:
        """A file of settings."""
        path = self.folder / "settings.yaml"
        path.write_bytes(mutated(dump_settings(TrainConfig(**TINY)).encode(), chance))
        validate(TrainConfig, read_settings(path, TrainConfig))

    def metrics(self, chance: random.Random) -> None:
        """A log: to be cut back, and to be plotted."""
        path = self.trainer.folder.path / "metrics.jsonl"
        path.write_bytes(mutated(self.real[path], chance))
        try:
            rows = read_metrics(path.parent)
            terminal_curves([Curve("run", rows)], "step", width=80)
        finally:
            truncate_log(path.parent, 20, 20)
            read_metrics(path.parent)

    def text(self, chance: random.Random) -> None:
        """A corpus, prepared by any tokenizer; a text that is taken comes back."""
        path = self.folder / "text.txt"
        path.write_bytes(mutated((LAMP * 3).encode(), chance))
        kind = chance.choice(sorted(TOKENIZERS))
        config = PrepareConfig(tokenizer=kind, val_frac=chance.choice((0.0, 0.5)))
        reading = read_sources([str(path)], catalogue=Catalogue())
        prepare(reading, self.folder / "made", config, replace=True)
        made = open_dataset(self.folder / "made")
        if kind == "byte":
            whole = b"".join(made.tokenizer.decode(ids) for ids in made.splits.values())
            assert whole == path.read_bytes() or path.read_bytes()[:2] == b"\x1f\x8b"

    def _restored(self, path: Path) -> Path:
        path.write_bytes(self.real[path])
        return path

    def _restored_checkpoint(self) -> None:
        folder = Path(self.checkpoint)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
        for path in self.real:
            if path.parent == folder:
                self._restored(path)


NAMES = [name for name in vars(Targets) if not name.startswith("_")]


def finding(target: Callable[[random.Random], None], chance: random.Random) -> str | None:
    """Try one input; return a traceback, or None if it was read or refused."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TIMEOUT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            target(chance)
    except CharnnError:
        return None
    except Exception:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {TIMEOUT} seconds")


def main() -> int:
    """Try inputs until the time is up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", default=NAMES, metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    tried = dict.fromkeys(asked.targets, 0)
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        targets = Targets(Path(folder))
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            for name in asked.targets:
                report = finding(
                    getattr(targets, name), random.Random(f"{asked.seed}:{name}:{tried[name]}")
                )
                if report:
                    found.setdefault(report.splitlines()[-1], f"{name} {tried[name]}\n{report}")
                tried[name] += 1
    print(f"{sum(tried.values()):,} inputs, {len(found)} findings; by target: {tried}")
    if found:
        Path("fuzz-findings").mkdir(exist_ok=True)
        for number, report in enumerate(found.values(), 1):
            Path(f"fuzz-findings/{number}.txt").write_text(report)
            print(report, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

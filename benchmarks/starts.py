"""How a run begins: the default start with one choice taken away; prints a Markdown table.

    python benchmarks/starts.py TEXT [--steps 300] [--preset small] [--tokenizer char] [--cell lstm]

The weights are drawn as always; then the biases are changed, before the first step. Equal steps, so
that the speed of the machine does not matter. Medians over the seeds, and the difference to the
default in nats: what is above zero is what the choice earns.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from machine import print_table, spread, title
from quality import prepared

from charnn.config import TrainConfig
from charnn.data.dataset import Dataset, open_dataset
from charnn.lab.gradient_flow import open_gates
from charnn.model.language_model import LanguageModel
from charnn.model.layers import LONGEST_KEPT
from charnn.training.events import Result
from charnn.training.resolve import resolve
from charnn.training.trainer import Trainer

WARMUP_SHARE = 0.1


def as_it_is(model: LanguageModel) -> None:
    """Change nothing: the default start."""


def equally_likely(model: LanguageModel) -> None:
    """Every symbol of the vocabulary is as likely as any other."""
    model.output.bias.zero_()


def half_open(model: LanguageModel) -> None:
    """Every gate lets half through."""
    for layer in model.recurrent_layers():
        layer.bias.zero_()


def open_forget_gate(model: LanguageModel) -> None:
    """As Jozefowicz, Zaremba and Sutskever (2015) advise for an LSTM."""
    half_open(model)
    open_gates(model, 1)


def unopposed(model: LanguageModel) -> None:
    """Open the gate that writes half, however long a unit keeps its state."""
    for layer in model.recurrent_layers():
        if layer.spec.writing_gate:
            layer.gate_biases()[layer.spec.writing_gate].zero_()


def spread_to(bias: float) -> Callable[[LanguageModel], None]:
    """Time scales up to that of another bias."""

    def start(model: LanguageModel) -> None:
        for layer in model.recurrent_layers():
            layer.bias.mul_(bias / LONGEST_KEPT)

    return start


def as_before(model: LanguageModel) -> None:
    """All of it taken away."""
    equally_likely(model)
    open_forget_gate(model)


# What is done to the model, and whether the learning rate is warmed up.
STARTS: dict[str, tuple[Callable[[LanguageModel], None], bool]] = {
    "the default": (as_it_is, False),
    "with warm-up": (as_it_is, True),
    "symbols equally likely": (equally_likely, False),
    "gates half open": (half_open, False),
    "forget gate open": (open_forget_gate, False),
    "writing gate half open": (unopposed, False),
    "time scales to a bias of 2": (spread_to(2), False),
    "time scales to a bias of 4": (spread_to(4), False),
    "equally likely, forget gate open": (as_before, False),
    "the same, with warm-up": (as_before, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts of a run compared, in equal steps.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STARTS, default=list(STARTS))
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    with tempfile.TemporaryDirectory() as folder:
        name = prepared(options.text.resolve(), options.tokenizer, folder)
        print(
            f"{name}, {options.tokenizer}, preset {options.preset}, {options.cell}, "
            f"{options.steps:,} steps, seeds: {options.seeds}\n"
        )
        dataset = open_dataset(Path(folder, "data", name))
        print_table(
            ("start", "loss (range)", "against the default"), rows(options, dataset, Path(folder))
        )


def rows(options: argparse.Namespace, dataset: Dataset, folder: Path) -> Iterator[Sequence[str]]:
    default = 0.0
    for number, start in enumerate(dict.fromkeys(["the default", *options.only])):
        losses = [
            trained(options, dataset, start, seed, folder / f"start-{number}-{seed}")
            for seed in range(1, options.seeds + 1)
        ]
        middle = statistics.median(losses)
        default = default or middle
        yield start, spread(losses, 4), f"{middle - default:+.4f}"


def trained(
    options: argparse.Namespace, dataset: Dataset, start: str, seed: int, folder: Path
) -> float:
    """Nats of the validation split after a run that begins like this."""
    change, is_warmed_up = STARTS[start]
    given = {name: getattr(options, name) for name in ("steps", "preset", "cell")}
    given |= {"seed": seed, "warmup_steps": int(WARMUP_SHARE * options.steps) * is_warmed_up}
    trainer = Trainer(dataset, resolve(TrainConfig(**given), dataset).config, folder)
    with torch.no_grad():
        change(trainer.loop.model)
    trainer.folder.create(force=True)
    *_, result = trainer.events()
    assert isinstance(result, Result)
    assert result.val is not None
    return result.val.loss


if __name__ == "__main__":
    main()

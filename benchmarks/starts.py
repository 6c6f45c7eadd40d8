"""Ablation of the initialization: remove one choice at a time; print a Markdown table.

    python benchmarks/starts.py TEXT [--steps 300] [--preset small] [--tokenizer char] [--cell lstm]

The model is initialized by default; then its biases are changed, before the first step. The steps
are equal, so that the speed of the machine does not matter. Prints the median over the seeds and
the difference from the default in nats; a positive difference is the gain of the default.
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


def unchanged(model: LanguageModel) -> None:
    """Keep the default initialization."""


def zero_output_bias(model: LanguageModel) -> None:
    """Make all symbols equally likely."""
    model.output.bias.zero_()


def zero_gate_biases(model: LanguageModel) -> None:
    """Open every gate half."""
    for layer in model.recurrent_layers():
        layer.bias.zero_()


def open_forget_gate(model: LanguageModel) -> None:
    """Set the forget gate bias to 1, after Jozefowicz, Zaremba and Sutskever (2015)."""
    zero_gate_biases(model)
    open_gates(model, 1)


def zero_input_gate_bias(model: LanguageModel) -> None:
    """Open the input gate half in all units."""
    for layer in model.recurrent_layers():
        if layer.spec.writing_gate:
            layer.gate_biases()[layer.spec.writing_gate].zero_()


def biases_up_to(bias: float) -> Callable[[LanguageModel], None]:
    """Return a function that scales the range of the gate biases."""

    def start(model: LanguageModel) -> None:
        for layer in model.recurrent_layers():
            layer.bias.mul_(bias / LONGEST_KEPT)

    return start


def all_removed(model: LanguageModel) -> None:
    """Remove all choices."""
    zero_output_bias(model)
    open_forget_gate(model)


# The change to the model, and whether the learning rate is warmed up.
STARTS: dict[str, tuple[Callable[[LanguageModel], None], bool]] = {
    "default": (unchanged, False),
    "warm-up over 10 % of the steps": (unchanged, True),
    "output bias 0": (zero_output_bias, False),
    "gate biases 0": (zero_gate_biases, False),
    "forget gate bias 1": (open_forget_gate, False),
    "input gate bias 0": (zero_input_gate_bias, False),
    "gate biases up to 2": (biases_up_to(2), False),
    "gate biases up to 4": (biases_up_to(4), False),
    "output bias 0, forget gate bias 1": (all_removed, False),
    "output bias 0, forget gate bias 1, warm-up": (all_removed, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ablation of the initialization.")
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
        header = ("initialization", "loss (range)", "difference from the default")
        print_table(header, rows(options, dataset, Path(folder)))


def rows(options: argparse.Namespace, dataset: Dataset, folder: Path) -> Iterator[Sequence[str]]:
    default = 0.0
    for number, start in enumerate(dict.fromkeys(["default", *options.only])):
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
    """Return the validation loss in nats after a run with this initialization."""
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

"""Ablation of the default recipe: change one choice at a time; print a Markdown table.

    python benchmarks/recipe.py TEXT [--minutes 1.333] [--seeds 3] [--only NAME…]
    python benchmarks/recipe.py TEXT --steps 1200 --preset small [--seeds 3] [--only NAME…]

Each row changes one choice of a plain `charnn train --minutes M`. The time is equal, so that a
faster choice gains from its speed. With --steps the steps are equal instead, so that the speed of
the machine does not matter. Prints the median over the seeds and the difference from the default in
nats; a positive difference is the gain of the default.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import print_table, spread, title
from quality import charnn, prepared

CHANGES: dict[str, list[str]] = {
    "default": [],
    "AdamW for all weights": ["--optimizer", "adamw"],
    "AdamW, twice the learning rate": ["--optimizer", "adamw", "--lr", "0.008"],
    "no weight decay of matrices": ["--matrix-decay", "0"],
    "no dropout": ["--dropout", "0"],
    "dropout 0.2": ["--dropout", "0.2"],
    "constant learning rate": ["--final-lr-frac", "1"],
    "warm-up of 50 steps": ["--warmup-steps", "50"],
    "no clipping": ["--grad-clip", "0"],
    "float32": ["--precision", "float32"],
    "random sampler": ["--sampler", "random"],
    "bptt 32": ["--bptt", "32"],
    "bptt 128": ["--bptt", "128"],
    "preset small": ["--preset", "small"],
    "preset medium": ["--preset", "medium"],
    "preset large": ["--preset", "large"],
    "two layers": ["--num-layers", "2"],
    "GRU": ["--cell", "gru"],
    "weight dropout 0.2": ["--weight-dropout", "0.2"],
    "averaged weights": ["--average"],
    "random bptt": ["--random-bptt"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ablation of the default recipe.")
    parser.add_argument("text", type=Path)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=1.333)
    length.add_argument("--steps", type=int)
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    with tempfile.TemporaryDirectory() as folder:
        name = prepared(options.text.resolve(), "char", folder)
        budget = f"{options.steps:,} steps" if options.steps else f"{options.minutes:g} minutes"
        print(f"{name}, preset {options.preset}, {budget}, {options.seeds} seeds\n")
        headers = ("choice", "loss (range)", "difference from the default", "steps")
        print_table(headers, rows(options, folder))


def rows(options: argparse.Namespace, folder: str) -> Iterator[Sequence[str]]:
    runs = alternate(options, list(dict.fromkeys(["default", *options.only])), folder)
    default = statistics.median(losses(runs["default"]))
    for choice, of_choice in runs.items():
        yield (
            choice,
            spread(losses(of_choice), 4),
            f"{statistics.median(losses(of_choice)) - default:+.4f}",
            f"{statistics.median(run['steps'] for run in of_choice):,.0f}",
        )


def alternate(
    options: argparse.Namespace, choices: Sequence[str], folder: str
) -> dict[str, list[dict]]:
    """Run every choice with the first seed, then with the next, and return the runs by choice.

    A machine that is slow for a while then affects all choices.
    """
    runs: dict[str, list[dict]] = {choice: [] for choice in choices}
    for seed in range(1, options.seeds + 1):
        for number, choice in enumerate(choices):
            runs[choice].append(trained(options, CHANGES[choice], seed, number, folder))
            print(f"{choice}, seed {seed}: {losses(runs[choice])[-1]:.4f}", file=sys.stderr)
    return runs


def losses(runs: Sequence[dict]) -> list[float]:
    return [run["val"]["loss"] for run in runs]


def trained(
    options: argparse.Namespace, change: list[str], seed: int, number: int, folder: str
) -> dict:
    budget = ["--steps", options.steps] if options.steps else ["--minutes", options.minutes]
    arguments = [*budget, "--preset", options.preset, "--seed", seed]
    arguments += ["--name", f"choice-{number}-{seed}", "-q", "--json", *change]
    return json.loads(charnn(folder, "train", *map(str, arguments)))


if __name__ == "__main__":
    main()

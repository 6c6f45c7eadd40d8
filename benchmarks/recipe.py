"""What each choice of the default recipe is worth: an ablation; prints a Markdown table.

    python benchmarks/recipe.py TEXT [--minutes 1.333] [--seeds 3] [--only NAME…]
    python benchmarks/recipe.py TEXT --steps 1200 --preset small [--seeds 3] [--only NAME…]

Each row changes one choice of what a plain `charnn train --minutes M` does, and nothing else. The
time is the same for all, so a choice that is only quicker shows too. With --steps the steps are
the same instead, which takes a machine of uneven speed out of it. Medians over the seeds, and the
difference to the default in nats: what is above zero is what the choice earns.
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
    "the default": [],
    "AdamW for all weights": ["--optimizer", "adamw"],
    "AdamW, twice its rate": ["--optimizer", "adamw", "--lr", "0.008"],
    "no decay of the matrices": ["--matrix-decay", "0"],
    "no dropout": ["--dropout", "0"],
    "dropout 0.2": ["--dropout", "0.2"],
    "a constant learning rate": ["--final-lr-frac", "1"],
    "50 steps of warm-up": ["--warmup-steps", "50"],
    "no clipping": ["--grad-clip", "0"],
    "float32": ["--precision", "float32"],
    "windows in random order": ["--sampler", "random"],
    "half the bptt": ["--bptt", "32"],
    "twice the bptt": ["--bptt", "128"],
    "preset small": ["--preset", "small"],
    "preset medium": ["--preset", "medium"],
    "preset large": ["--preset", "large"],
    "two layers": ["--num-layers", "2"],
    "a GRU": ["--cell", "gru"],
    "with weight-drop 0.2": ["--weight-dropout", "0.2"],
    "with averaged weights": ["--average"],
    "with random bptt": ["--random-bptt"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The default recipe without one of its choices.")
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
        headers = ("choice", "loss (range)", "against the default", "steps")
        print_table(headers, rows(options, folder))


def rows(options: argparse.Namespace, folder: str) -> Iterator[Sequence[str]]:
    runs = taking_turns(options, list(dict.fromkeys(["the default", *options.only])), folder)
    default = statistics.median(losses(runs["the default"]))
    for choice, of_choice in runs.items():
        yield (
            choice,
            spread(losses(of_choice), 4),
            f"{statistics.median(losses(of_choice)) - default:+.4f}",
            f"{statistics.median(run['steps'] for run in of_choice):,.0f}",
        )


def taking_turns(
    options: argparse.Namespace, choices: Sequence[str], folder: str
) -> dict[str, list[dict]]:
    """Run each choice; every choice has its turn before the next seed begins.

    A machine that is slower for a while is then slower for all of them.
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

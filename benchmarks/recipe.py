"""What each choice of the default recipe is worth: an ablation; prints a Markdown table.

    python benchmarks/recipe.py TEXT [--minutes 1.333] [--seeds 3] [--only NAME…]

Each row changes one choice of what a plain `charnn train --minutes M` does, and nothing else. The
time is the same for all, so a choice that is only quicker shows too. Medians over the seeds, and
the difference to the default in nats: what is above zero is what the choice earns.
"""

import argparse
import json
import statistics
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
    "a constant learning rate": ["--final-lr-frac", "1"],
    "no warm-up": ["--warmup-steps", "0"],
    "no clipping": ["--grad-clip", "0"],
    "float32": ["--precision", "float32"],
    "windows in random order": ["--sampler", "random"],
    "half the bptt": ["--bptt", "32"],
    "twice the bptt, half the rows": ["--bptt", "128", "--batch-size", "32"],
    "half the width": ["--hidden-size", "256"],
    "two layers": ["--num-layers", "2"],
    "a GRU": ["--cell", "gru"],
    "with weight-drop 0.2": ["--weight-dropout", "0.2"],
    "with averaged weights": ["--average"],
    "with random bptt": ["--random-bptt"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The default recipe without one of its choices.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--minutes", type=float, default=1.333)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    with tempfile.TemporaryDirectory() as folder:
        name = prepared(options.text.resolve(), "char", folder)
        print(f"{name}, {options.minutes:g} minutes, {options.seeds} seeds\n")
        headers = ("choice", "loss (range)", "against the default", "steps")
        print_table(headers, rows(options, folder))


def rows(options: argparse.Namespace, folder: str) -> Iterator[Sequence[str]]:
    default = None
    for number, choice in enumerate(dict.fromkeys(["the default", *options.only])):
        runs = [trained(options, CHANGES[choice], seed, number, folder) for seed in seeds(options)]
        losses = [run["val"]["loss"] for run in runs]
        median = statistics.median(losses)
        default = median if default is None else default
        yield (
            choice,
            spread(losses, 4),
            f"{median - default:+.4f}",
            f"{statistics.median(run['steps'] for run in runs):,.0f}",
        )


def seeds(options: argparse.Namespace) -> range:
    return range(1, options.seeds + 1)


def trained(
    options: argparse.Namespace, change: list[str], seed: int, number: int, folder: str
) -> dict:
    arguments = ["--minutes", str(options.minutes), "--seed", str(seed)]
    arguments += ["--name", f"choice-{number}-{seed}", "-q", "--json", *change]
    return json.loads(charnn(folder, "train", *arguments))


if __name__ == "__main__":
    main()

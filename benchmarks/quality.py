"""Measure the loss after a plain `charnn train --minutes M`; print a Markdown table.

    python benchmarks/quality.py TEXT [TEXT…] [--minutes 1.333 5] [--seeds 3] [--tokenizer word]

Every run is the whole command with default settings except for minutes and seed. The figure is the
loss on the validation split, the last tenth of the text, with carried state; with --windows and
--dynamic also by these protocols of `charnn eval`. Prints the median over the seeds and the range.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import print_table, spread, title


def main() -> None:
    parser = argparse.ArgumentParser(description="Loss after a number of minutes.")
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--minutes", nargs="+", type=float, default=[1.333])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("--windows", type=int)
    parser.add_argument("--dynamic", action="store_true")
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    headers = ["text", "minutes", "loss (range)", "bits/char", "steps", "tokens/s", "model"]
    headers += [f"windows {options.windows}"] * bool(options.windows)
    headers += ["dynamic"] * options.dynamic
    print_table(headers, rows(options))


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    for text in options.texts:
        for minutes in options.minutes:
            with tempfile.TemporaryDirectory() as folder:
                name = prepared(text.resolve(), options.tokenizer, folder)
                runs = [trained(minutes, seed, folder) for seed in range(1, options.seeds + 1)]
                row = [f"{name}, {options.tokenizer}", f"{minutes:g}", *figures(runs)]
                if options.windows:
                    row.append(scored(runs, folder, "--windows", str(options.windows)))
                if options.dynamic:
                    row.append(scored(runs, folder, "--dynamic"))
            yield row


def charnn(folder: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "charnn", *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout.decode()


def prepared(text: Path, tokenizer: str, folder: str) -> str:
    charnn(folder, "prepare", str(text), "--tokenizer", tokenizer, "-q")
    return text.stem


def trained(minutes: float, seed: int, folder: str) -> dict:
    name = f"seed-{seed}"
    arguments = ["--minutes", str(minutes), "--seed", str(seed), "--name", name, "--json"]
    run = json.loads(charnn(folder, "train", *arguments))
    print(f"{minutes:g} minutes, seed {seed}: {run['val']['loss']:.4f}", file=sys.stderr)
    return run


def figures(runs: list[dict]) -> list[str]:
    losses = [run["val"]["loss"] for run in runs]
    return [
        spread(losses, 4),
        f"{statistics.median(run['val']['bits_per_char_all'] for run in runs):.3f}",
        f"{statistics.median(run['steps'] for run in runs):,.0f}",
        f"{statistics.median(run['tokens_per_second'] for run in runs):,.0f}",
        f"{runs[0]['parameters'] / 1e6:.1f} M",
    ]


def scored(runs: list[dict], folder: str, *protocol: str) -> str:
    """Return the median loss by another protocol of `charnn eval`."""
    results = [charnn(folder, "eval", run["run"], *protocol, "--json", "-q") for run in runs]
    return f"{statistics.median(json.loads(result)['loss'] for result in results):.4f}"


if __name__ == "__main__":
    main()

"""Compare training on records with another version of charnn; print a Markdown table.

    python benchmarks/records.py CHECKOUT NAMES.txt [--seeds 3] [--only "places, 0.5 min" …]

CHECKOUT is a folder with the source of the other version, NAMES.txt a list of 32,000 names; the
other list is the embedded corpus `places`. A case is a list and a length of training: the steps
that half a minute or two minutes are enough for on two idle cores, and the preset that `auto`
chooses for them, so that the speed of this machine does not matter. Everything else is left to the
versions, which alternate, with the same validation records and seeds.

All models are evaluated by this version, each record from a zero state. Prints the median loss over
the seeds, the range, the difference from the other version, and the fraction of padding.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import print_table, spread, title

from charnn.data.dataset import open_dataset
from charnn.data.samplers import RecordSampler
from charnn.training.presets import PRESETS

SOURCE = Path(__file__).resolve().parent.parent
# Steps by the speed of benchmarks/README.md, quality.py: 86,000 tokens/s for `small`, 31,000 for
# `medium`, without the seconds before and after training.
CASES = {
    "names, 0.5 min": ("names", "small", 1000),
    "names, 2 min": ("names", "medium", 830),
    "places, 0.5 min": ("places", "small", 1000),
    "places, 2 min": ("places", "small", 4900),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Training on records, compared.")
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("names", type=Path, metavar="NAMES.txt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    versions = ["other version (range)", "this version (range)"]
    headers = ["list, time", *versions, "difference", "padding"]
    with tempfile.TemporaryDirectory() as folder:
        for source in (str(options.names.resolve()), "places"):
            name = "places" if source == "places" else "names"
            charnn(SOURCE, folder, "prepare", source, "--lines", "--name", name)
        print_table(headers, rows(options, folder))


def rows(options: argparse.Namespace, folder: str) -> Iterator[Sequence[str]]:
    versions = {"other": options.checkout.resolve(), "this": SOURCE}
    for case in options.only:
        losses: dict[str, list[float]] = {version: [] for version in versions}
        for seed in range(1, options.seeds + 1):
            for version, source in versions.items():
                run = f"{version}-{case}-{seed}".replace(", ", "-").replace(" ", "-")
                losses[version].append(trained(source, folder, case, seed, run))
                loss = losses[version][-1]
                print(f"{case}, {version} version, seed {seed}: {loss:.4f}", file=sys.stderr)
        other, this = (statistics.median(some) for some in losses.values())
        shown = [spread(some, 4) for some in losses.values()]
        yield [case, *shown, f"{this - other:+.4f}", f"{padding(Path(folder), case):.1%}"]


def trained(source: Path, folder: str, case: str, seed: int, run: str) -> float:
    """Train with one version, and return the validation loss by the protocol of this one."""
    data, preset, steps = CASES[case]
    settings = ["--preset", preset, "--steps", str(steps), "--seed", str(seed), "--name", run]
    charnn(source, folder, "train", data, *settings)
    return float(json.loads(charnn(SOURCE, folder, "eval", run, "--json"))["loss"])


def padding(folder: Path, case: str) -> float:
    """Return the fraction of padding in an epoch of this version."""
    data = open_dataset(folder / "data" / CASES[case][0])
    rows = PRESETS[CASES[case][1]].batch_size
    sampler = RecordSampler(data.split("train"), rows, 64, start_token=data.start_token)
    batches = [sampler.next_batch().targets for _ in range(sampler.batches_in(0))]
    return 1 - len(data.split("train")) / sum(targets.size for targets in batches)


def charnn(source: Path, folder: str, *arguments: str) -> str:
    """Run a command of the version in the folder `source`, and return its output."""
    command = [sys.executable, "-m", "charnn", *arguments, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


if __name__ == "__main__":
    main()

"""Compare the start-up time of charnn with that of `import torch`; print a Markdown table.

    python benchmarks/startup.py [--rounds N]

Each command runs once per round, so that all of them see the same machine; a ratio is the median
of the ratios of the rounds. One more round at the beginning fills the caches and is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from machine import print_table, spread, title
from random_data import write_random_model

VOCABULARY = 65
TORCH = "python -c 'import torch'"


def main() -> None:
    parser = argparse.ArgumentParser(description="Start-up time of charnn.")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"{title('numpy', 'torch')}\n")
    print_table(("command", "seconds", "ratio to import torch", "target"), rows(options.rounds))


def rows(rounds: int) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        write_model(model)
        commands = {
            TORCH: (["-c", "import torch"], ""),
            "charnn --help": (["-m", "charnn", "--help"], "≤ 0.2"),
            "charnn info MODEL": (["-m", "charnn", "info", str(model)], ""),
            "charnn sample MODEL -n 1, first byte": (
                ["-m", "charnn", "sample", str(model), "-n", "1", "--quiet"],
                "≤ 0.3",
            ),
        }
        taken = {name: [] for name in commands}
        for number in range(rounds + 1):
            for name, (arguments, _) in commands.items():
                seconds = time_of(arguments, first_byte="first byte" in name)
                taken[name] += [seconds] if number else []
    for name, (_, target) in commands.items():
        ratios = [own / torch for own, torch in zip(taken[name], taken[TORCH], strict=True)]
        yield name, spread(taken[name]), f"{statistics.median(ratios):.2f}", target


def write_model(path: Path) -> None:
    """Write a model of the default size with random weights."""
    from charnn.tokenizers.char import CharTokenizer

    tokenizer = CharTokenizer.build("".join(chr(32 + code) for code in range(VOCABULARY - 1)))
    write_random_model(path, tokenizer)


def time_of(arguments: list[str], *, first_byte: bool) -> float:
    """Return the seconds from the start of a process to its first byte, or to its exit."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(1 if first_byte else -1)
        if not first_byte:
            process.wait()
        seconds = time.perf_counter() - start
        process.stdout.read()
    assert process.returncode == 0, arguments
    return seconds


if __name__ == "__main__":
    main()

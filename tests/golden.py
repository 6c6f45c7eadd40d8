"""Produce the golden values; record them with `python -m tests.golden`.

Record them again only in a commit that changes these results intentionally, for example a default
or the order of random numbers, and state it in the message. A refactoring must not change them.
"""

import hashlib
import json
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden.json")
TEXT = Path(__file__).resolve().parent.parent / "corpora" / "lamplighter.txt"
TEXT_LENGTH = 20_000  # characters
TOKENIZERS = {
    "char": [],
    "byte": ["--tokenizer", "byte"],
    "word": ["--tokenizer", "word", "--min-count", "2"],
    "bpe": ["--tokenizer", "bpe", "--vocab-size", "300"],
}
RUNS = {
    **{
        f"{cell} {sampler} adamw": ["--cell", cell, "--sampler", sampler, "--optimizer", "adamw"]
        for cell in ("lstm", "gru", "rnn")
        for sampler in ("sequential", "random")
    },
    **{
        f"lstm sequential {name}": ["--cell", "lstm", "--optimizer", name]
        for name in ("sgd", "muon")
    },
}
SIZE = [
    *("--preset", "tiny", "--steps", "30", "--eval-every", "10", "--batch-size", "8"),
    *("--bptt", "16", "--hidden-size", "32", "--embedding-dim", "16", "--seed", "3"),
    *("--deterministic", "--precision", "float32", "--device", "cpu", "--threads", "1"),
]
SYMBOLS = "abcdefghijklmnopqrstuvwxyz ,.\n"
SAMPLES = {
    "plain": {"temperature": 1.0},
    "greedy": {"temperature": 0.0, "repetition_penalty": 2.0},
    "filters": {"temperature": 1.2, "top_k": 12, "top_p": 0.9, "min_p": 0.02},
    "penalty": {"temperature": 1.0, "repetition_penalty": 1.4},
}
SCALE = 0.2  # of the weights: with large ones an RNN is chaotic and amplifies rounding errors
CELLS = ("lstm", "gru", "rnn")


def charnn(*arguments: str) -> None:
    """Run a command in this process."""
    from charnn import cli

    assert cli.main([*arguments, "--quiet"]) == 0, arguments


def prepare(name: str, folder: Path) -> dict[str, str]:
    """Prepare the text with a tokenizer; return the SHA-256 of the files with its tokens."""
    source = folder / "lamp.txt"
    source.write_text(TEXT.read_text("utf-8")[:TEXT_LENGTH], "utf-8")
    charnn(*("prepare", str(source), "--name", name, "--data-dir", str(folder)), *TOKENIZERS[name])
    files = sorted([*(folder / name).glob("*.bin"), folder / name / "tokenizer.json"])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def train(name: str, folder: Path) -> dict[str, list[float]]:
    """Train on the text with the char tokenizer; return the losses of each split."""
    charnn(
        *("train", str(folder / "char"), "--name", name.replace(" ", "-")),
        *("--runs-dir", str(folder / "runs"), *RUNS[name], *SIZE),
    )
    lines = (folder / "runs" / name.replace(" ", "-") / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {
        split: [
            round(row["loss"], 6) for row in rows if row["split"] == split and not row.get("final")
        ]
        for split in ("train", "val")
    }


def sample(cell: str) -> dict[str, list[str]]:
    """Sample with random weights in NumPy. A token is a character, so the texts are ids."""
    from charnn.config import SampleConfig
    from charnn.generation.constraints import constrain
    from charnn.generation.generate import Piece, Request, generate, initial_context
    from charnn.model.numpy_model import NumpyModel
    from tests.tiny import Vocabulary, random_tensors, tiny_config

    vocabulary = Vocabulary([symbol.encode() for symbol in SYMBOLS])
    config = tiny_config(cell, 2, vocab_size=vocabulary.vocab_size, hidden_size=24)
    network = NumpyModel(config, random_tensors(config, scale=SCALE))
    texts: dict[str, list[str]] = {}
    for name, settings in SAMPLES.items():
        drawn = SampleConfig(**{"max_new_tokens": 150, **settings})
        request = Request(drawn, constrain(vocabulary.pieces), seed=7, samples=3, stop=("qu",))
        texts[name] = [""] * request.samples
        for event in generate(network, vocabulary, request, initial_context(network, 0)):
            if isinstance(event, Piece):
                texts[name][event.index] += event.data.decode()
    return texts


def record() -> None:
    """Write the golden values to golden.json."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        values = {
            "prepare": {name: prepare(name, folder) for name in TOKENIZERS},
            "train": {name: train(name, folder) for name in RUNS},
            "sample": {cell: sample(cell) for cell in CELLS},
        }
    GOLDEN.write_text(json.dumps(values, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    record()

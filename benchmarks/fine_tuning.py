"""Learning rate of a run that starts from another model's weights; prints a Markdown table.

    python benchmarks/fine_tuning.py BASE_TEXT TEXT... [--steps 300] [--base-steps 800]

A base model is trained on BASE_TEXT. Runs of equal steps on each TEXT start from its weights, with
the learning rates of the preset times a factor. Losses are nats per token of the validation split,
medians over the seeds; "new" is a run without the base model.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine import print_table, spread, title
from quality import prepared

from charnn.config import TrainConfig
from charnn.data.dataset import Dataset, open_dataset
from charnn.model.model_file import ModelFile, read_model
from charnn.training.events import Result
from charnn.training.resolve import resolve
from charnn.training.trainer import Trainer

FACTORS = (2.0, 1.0, 0.5, 0.25, 0.1)


def main() -> None:
    """Train the base model, then print one row per text."""
    parser = argparse.ArgumentParser(description="Learning rates for fine-tuning.")
    parser.add_argument("base", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--base-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--factors", type=float, nargs="+", default=FACTORS)
    options = parser.parse_args()
    print(f"{title('torch')}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = open_dataset(folder / "data" / prepared(options.base.resolve(), "char", name))
        trained(base, folder / "base", {"steps": options.base_steps, "seed": 1})
        model = read_model(folder / "base" / "model.safetensors")
        header = ("text", "steps", "new", *(f"× {factor:g}" for factor in options.factors))
        print_table(header, rows(options, model, folder))


def rows(options: argparse.Namespace, model: ModelFile, folder: Path) -> Iterator[Sequence[str]]:
    """Yield the losses of each text and number of steps."""
    for text in options.texts:
        dataset = open_dataset(folder / "data" / prepared(text.resolve(), "char", str(folder)))
        for steps in options.steps:
            cells = []
            for factor in (None, *options.factors):
                losses = [
                    trained(
                        dataset,
                        folder / f"{text.stem}-{steps}-{factor}-{seed}",
                        {"steps": steps, "seed": seed},
                        None if factor is None else model,
                        factor or 1.0,
                    )
                    for seed in range(1, options.seeds + 1)
                ]
                cells.append(spread(losses, 4))
            yield text.stem, str(steps), *cells


def trained(
    dataset: Dataset,
    folder: Path,
    given: dict[str, int],
    init_from: ModelFile | None = None,
    factor: float = 1.0,
) -> float:
    """Return the validation loss of a run, its learning rates multiplied by a factor."""
    asked = TrainConfig(preset="small", **given)  # type: ignore[arg-type]  # integers
    config = resolve(asked, dataset).config
    rates = {"lr": config.lr * factor, "matrix_lr": config.matrix_lr * factor}
    trainer = Trainer(dataset, config.model_copy(update=rates), folder)
    trainer.folder.create(force=True)
    if init_from is not None:
        trainer.init_from(init_from, "base")
    *_, result = trainer.events()
    assert isinstance(result, Result)
    assert result.val is not None
    return result.val.loss


if __name__ == "__main__":
    main()

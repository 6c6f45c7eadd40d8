"""Learning curves written as PNG and SVG."""

import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from charnn.display import figure
from charnn.display.learning_curves import Curve
from charnn.errors import StorageError, UsageError

PNG = b"\x89PNG\r\n\x1a\n"
BITS = 1 / math.log(2)


def _run(name="lstm-001", steps=200, ratio=BITS, floor=1.5):
    rows = []
    for step in range(1, steps + 1):
        loss = floor + 2 * math.exp(-step / 30) + 0.05 * math.sin(step * 7)
        row = {"step": step, "tokens": step * 4096, "seconds": step * 2.5}
        rows.append({**row, "split": "train", "loss": loss, "bits_per_char": loss * ratio})
        if step % 20 == 0:
            rows.append({**row, "split": "val", "loss": loss + 0.1, "bits_per_char": None})
    return Curve(name, rows)


def test_learning_curves_are_written_as_png_or_svg_by_suffix(tmp_path):
    """Upper and lower case suffixes work, and no temporary file is left in the folder."""
    for name in ("curves.png", "curves.SVG"):
        figure.draw_learning_curves([_run(), _run("gru-001", floor=1.6)], "step", tmp_path / name)
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert ET.parse(tmp_path / "curves.SVG").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.SVG", "curves.png"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_picture_is_reproducible(tmp_path, suffix):
    """The same values give the same bytes, without a date or random identifiers."""
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        figure.draw_learning_curves([_run()], "tokens", path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<dc:date>" not in first


def test_unknown_suffix_is_a_usage_error(tmp_path):
    """The error names the file, and the hint lists the supported suffixes."""
    with pytest.raises(UsageError, match=r"curves\.gif") as caught:
        figure.draw_learning_curves([_run()], "step", tmp_path / "curves.gif")
    assert caught.value.hint == "use a file name that ends in .png or .svg"


def test_missing_folder_is_a_storage_error(tmp_path):
    """The error names a folder that does not exist."""
    with pytest.raises(StorageError, match="missing"):
        figure.draw_learning_curves([_run()], "step", tmp_path / "missing" / "curves.png")


def test_curves_are_within_the_axes(tmp_path, drawn):
    """All of the validation curve is, and the training curve after its steep start."""
    figure.draw_learning_curves([_run(), _run("long", 400)], "seconds", tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_xlabel() == "minutes"
    assert axes.get_ylabel() == "loss (nats per token)"
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    marked = [line for line in axes.lines if line.get_marker() == "o"]
    smooth = [line for line in axes.lines if line.get_linewidth() == 0.9]
    assert len(marked) == 4  # for each run: validation, and the circle around its lowest value
    for line in marked:
        x, y = line.get_data()
        assert left <= min(x) <= max(x) <= right
        assert low <= min(y) <= max(y) <= high
    for line in smooth:
        x, y = (np.array(values) for values in line.get_data())
        after_start = y[x > 0.02 * right]
        assert low <= after_start.min() <= after_start.max() <= high


def test_second_axis_is_bits_per_char_only_if_all_runs_share_the_factor(tmp_path, drawn):
    """Character models do; mixed tokenizers get perplexity, and very large losses no axis."""
    for name, runs in {
        "char": [_run(), _run("gru")],
        "mixed": [_run(), _run("word", ratio=0.3)],
        "large": [_run(), _run("word", ratio=0.3, floor=1000.0)],
    }.items():
        figure.draw_learning_curves(runs, "step", tmp_path / f"{name}.png")
    labels = [[axis.get_ylabel() for axis in f.axes[0].child_axes] for f in drawn]
    assert labels == [["bits per character"], ["perplexity"], []]


def test_run_names_are_shown_literally(tmp_path, drawn):
    """Formulas, leading underscores, control codes and Chinese in names are plain text."""
    names = ["_hidden", "a$x_1$b", "$", "bad\x1b[31m\n", "唐诗", "\\alpha $\\frac$"]
    figure.draw_learning_curves([_run(name) for name in names], "step", tmp_path / "curves.svg")
    texts = [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()]
    assert len(texts) == len(names)
    assert texts[0].endswith("_hidden")
    assert texts[3].endswith("bad\\x1b[31m\\n")
    ET.parse(tmp_path / "curves.svg")


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"split": "val", "step": 1, "loss": None}],
        [{"split": "train", "step": 5, "loss": 2.0}],
        [{"split": "val", "step": 0, "loss": 2.0}],
        [{"split": "train", "step": i, "loss": [1e300, None, 2.0, -1.0][i % 4]} for i in range(40)],
    ],
)
def test_incomplete_logs_are_drawn(tmp_path, rows):
    """A log without rows, with gaps, with one point or with huge values gives a picture."""
    figure.draw_learning_curves([Curve("odd", rows)], "step", tmp_path / "odd.png")
    assert (tmp_path / "odd.png").read_bytes().startswith(PNG)


def test_smoothing_keeps_constants_the_start_and_gaps():
    """The moving average reduces noise, keeps a constant, and keeps NaN as NaN."""
    noise = np.random.default_rng(0).normal(2.0, 0.1, 400)
    smooth = np.array([y for _, y in figure.smoothed(list(enumerate(noise)))])
    assert smooth[100:].std() < 0.4 * noise[100:].std()
    assert smooth[0] == pytest.approx(noise[0])
    constant = [(float(i), math.nan if i == 7 else 3.0) for i in range(100)]
    values = [y for _, y in figure.smoothed(constant)]
    assert math.isnan(values[7])
    assert [y for i, y in enumerate(values) if i != 7] == pytest.approx([3.0] * 99)
    assert figure.smoothed([]) == []


def test_importing_figure_does_not_import_matplotlib(tmp_path):
    """Drawing imports it, and prints nothing even if its cache cannot be written."""
    code = (
        "import sys; from pathlib import Path; from charnn.display import figure;"
        "assert not {'matplotlib', 'numpy'} & set(sys.modules);"
        "from charnn.display.learning_curves import Curve;"
        "curve = Curve('唐', [{'split': 'val', 'step': s, 'loss': 1 / s} for s in (1, 2)]);"
        "figure.draw_learning_curves([curve], 'step', Path('x.png'));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    package = str(Path(figure.__file__).parents[2])
    environment = {**os.environ, "MPLCONFIGDIR": "/dev/null/x", "PYTHONPATH": package}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, re.sub(r"\s", "", done.stderr)) == (0, "", "")


def test_the_legend_has_the_final_score(tmp_path, drawn):
    """Or the lowest validation of a run without one; the title says which."""
    final = {"split": "val", "step": 200, "loss": 1.2345, "bits_per_char": 1.7811, "final": True}
    finished = Curve("done", [*_run().rows, final])
    figure.draw_learning_curves([finished], "step", tmp_path / "a.png")
    figure.draw_learning_curves([finished, _run()], "step", tmp_path / "b.png")
    figure.draw_learning_curves([finished], "step", tmp_path / "c.png", "bits_per_char")
    legends = [f.axes[0].get_legend() for f in drawn]
    assert [legend.get_title().get_text() for legend in legends] == [
        "final validation loss",
        "final or lowest validation loss",
        "final validation bits per character",
    ]
    assert [legend.get_texts()[0].get_text() for legend in legends] == [
        "1.234  done",
        "1.234  done",
        "1.781  done",
    ]
    assert drawn[2].axes[0].get_ylabel() == "bits per character"
    assert drawn[2].axes[0].child_axes == []

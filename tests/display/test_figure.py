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


def test_learning_curves_are_written_as_png_and_svg(tmp_path):
    """The suffix decides, in either case of letters; nothing else is left in the folder."""
    for name in ("curves.png", "curves.SVG"):
        figure.draw_learning_curves([_run(), _run("gru-001", floor=1.6)], "step", tmp_path / name)
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert ET.parse(tmp_path / "curves.SVG").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.SVG", "curves.png"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_values_give_the_same_bytes(tmp_path, suffix):
    """No date, no random identifier, no name of a program's version."""
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        figure.draw_learning_curves([_run()], "tokens", path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<dc:date>" not in first


def test_another_suffix_is_refused_with_the_choices(tmp_path):
    """Before anything is drawn."""
    with pytest.raises(UsageError, match=r"curves\.gif") as caught:
        figure.draw_learning_curves([_run()], "step", tmp_path / "curves.gif")
    assert caught.value.hint == "end it in .png or .svg"


def test_an_unwritable_place_is_a_storage_error(tmp_path):
    """A folder that does not exist is named."""
    with pytest.raises(StorageError, match="missing"):
        figure.draw_learning_curves([_run()], "step", tmp_path / "missing" / "curves.png")


def test_curves_lie_within_the_axes(tmp_path, drawn):
    """All of validation, and training after its steep beginning; x from zero to the last row."""
    figure.draw_learning_curves([_run(), _run("long", 400)], "seconds", tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_xlabel() == "minutes"
    assert axes.get_ylabel() == "loss (nats per token)"
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    marked = [line for line in axes.lines if line.get_marker() == "o"]
    smooth = [line for line in axes.lines if line.get_linewidth() == 0.9]
    assert len(marked) == 4  # validation, and the ring around its lowest value, of each
    for line in marked:
        x, y = line.get_data()
        assert left <= min(x) <= max(x) <= right
        assert low <= min(y) <= max(y) <= high
    for line in smooth:
        x, y = (np.array(values) for values in line.get_data())
        settled = y[x > 0.02 * right]
        assert low <= settled.min() <= settled.max() <= high


def test_the_second_scale_is_bits_per_char_only_where_it_is_the_same_for_all(tmp_path, drawn):
    """Character models share a factor; others get perplexity, and absurd losses neither."""
    for name, runs in {
        "char": [_run(), _run("gru")],
        "mixed": [_run(), _run("word", ratio=0.3)],
        "absurd": [_run(), _run("word", ratio=0.3, floor=1000.0)],
    }.items():
        figure.draw_learning_curves(runs, "step", tmp_path / f"{name}.png")
    labels = [[axis.get_ylabel() for axis in f.axes[0].child_axes] for f in drawn]
    assert labels == [["bits per character"], ["perplexity"], []]


def test_names_are_shown_as_they_are(tmp_path, drawn):
    """No mathematics, no label left out for its underscore, no control code, no missing glyph."""
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
def test_odd_logs_are_drawn_too(tmp_path, rows):
    """Nothing, a gap, a single point, absurd values: still a picture."""
    figure.draw_learning_curves([Curve("odd", rows)], "step", tmp_path / "odd.png")
    assert (tmp_path / "odd.png").read_bytes().startswith(PNG)


def test_smoothing_keeps_constants_ends_and_gaps():
    """A mean of neighbours: a constant stays, a gap stays a gap, noise shrinks."""
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
    """It is imported for drawing, which prints nothing, even if its cache cannot be written."""
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
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, re.sub(r"\s", "", ended.stderr)) == (0, "", "")

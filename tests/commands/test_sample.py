"""`charnn sample`: datasets it opens, greedy decoding, odd characters. See also tests/shell."""

import io

import pytest

from charnn import cli
from charnn.commands import sample
from charnn.commands.sample_output import Selection, Unrepeated
from charnn.display.messages import Display
from charnn.generation.generate import Sample

GENERATE = ["sample", "m.safetensors", "-n", "5"]


def test_dataset_is_opened_once(opened) -> None:
    """Opening a dataset reads and hashes its files."""
    assert cli.main([*GENERATE, "--novel", "3", "-q"]) == 0
    assert opened == ["lamp"]


@pytest.mark.parametrize("option", [[], ["--unique"], ["--new", "--novel=1"]], ids=str)
def test_greedy_decoding_makes_one_attempt(option, opened, capfd) -> None:
    """Each one would be the same text; what was asked for and not done is on stderr."""
    assert cli.main([*GENERATE, "--temp", "0", "--samples", "9", *option]) == 0
    out, error = capfd.readouterr()

    assert out.count("\n") <= 1
    assert "same at --temp 0: generating 1 instead of 9" in error
    assert ("kept 0 of 1 sample after 1 attempt" in error) == (not out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--allow", ""], "--allow '' leaves no character to generate"),
        (["--allow", "§"], "--allow '§' leaves no character to generate"),
        (["--allow", "ab", "--ban", "ba"], "--allow 'ab' leaves no character to generate"),
        (["--stop", ""], "--stop must not be an empty string"),
    ],
    ids=str,
)
def test_characters_that_cannot_be_generated(options, message, opened, capfd) -> None:
    """Exit code 2 and a hint."""
    assert cli.main([*GENERATE, *options]) == 2
    out, error = capfd.readouterr()

    assert out == ""
    assert message in error
    assert "\nhint: " in error


def test_unknown_characters_are_named(opened, capfd) -> None:
    """Those of --allow, --ban and --stop that the model does not know have no effect."""
    options = ("--allow", "ae€€n", "--ban", "ü", "--stop", "n§", "--seed", "1")
    assert cli.main([*GENERATE, *options]) == 0
    out, error = capfd.readouterr()

    assert set(out) <= set("aen\n")
    assert error.splitlines()[1:] == [
        "--ban: not in the vocabulary: 'ü'",
        "--allow: not in the vocabulary: '€'",
        "--stop: not in the vocabulary: '§'",
    ]


def test_interruption_prints_the_count() -> None:
    """It is the line that is printed at the end."""

    def interrupted():
        yield from (Sample(index, 0, 0.0, "stop", None) for index in range(3))
        raise KeyboardInterrupt

    stream = io.StringIO()
    selection = Selection({"repeated": Unrepeated()}, 9)
    with (
        pytest.raises(KeyboardInterrupt),
        sample._reported(selection, Display(stream=stream)) as show,
    ):
        list(selection.among(interrupted(), "", show))
    assert stream.getvalue() == "kept 1 of 9 samples after 3 attempts; dropped: 2 repeated\n"

"""Mistakes on a command line, in plain words and with the next step."""

import pytest

from charnn.cli import main


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (
            "prepare --tokenizer words",
            "--tokenizer is 'words': must be char, byte, word or bpe",
            "charnn prepare --help",
        ),
        (
            "train --cell dense",
            "--cell is 'dense': must be lstm, gru or rnn",
            "charnn train --help",
        ),
        ("eval --windows 0", "--windows is 0: must be at least 1", "charnn eval --help"),
        ("eval --windows x", "--windows is 'x': must be a whole number", "charnn eval --help"),
        ("sample --temp abc", "--temperature is 'abc': must be a number", "charnn sample --help"),
        ("sample --temp -1", "--temperature is -1: must be at least 0", None),
        ("sample --tmp 1", "no option --tmp; did you mean --temp?", "charnn sample --help"),
        ("sample --xyz", "no option --xyz", "charnn sample --help"),
        ("sample -n", "-n needs a value", "charnn sample --help"),
        ("sample --echo=3", "--echo takes no value", "charnn sample --help"),
        ("sampel", "no command sampel; did you mean sample?", "charnn --help"),
        ("help sampel", "no command sampel; did you mean sample?", "charnn --help"),
        ("lab nothing", "no command nothing", "charnn lab --help"),
        ("lab memry", "no command memry; did you mean memory?", "charnn lab --help"),
        ("lab sampel", "no command sampel; did you mean samplers?", "charnn lab --help"),
        ("-q list", "-q must come after the command", "charnn list -q"),
        ("--runs-dir x list", "--runs-dir must come after the", "charnn list --runs-dir …"),
        ("--safe sample", "--safe must come after the command", "charnn sample --safe"),
        ("--quick lab memory", "--quick must come after the", "charnn lab memory --quick"),
        ("lab --quick memory", "--quick must come after the", "charnn lab memory --quick"),
        ("-q", "-q must come after the command", "charnn COMMAND -q"),
        ("lab --quick", "--quick must come after the command", "charnn lab COMMAND --quick"),
        ("--temp list", "no option --temp", "charnn --help"),
        ("list -x", "no option -x", "charnn list --help"),
        ("info a b", "unexpected argument b", "charnn info --help"),
        ("prepare --name -x", "--name '-x' is not a valid name", ""),
    ],
)
def test_a_mistake_is_said_in_plain_words(arguments, said, hint, capfd) -> None:
    """Exit code 2, one line with what is wrong, one with what to do."""
    assert main(arguments.split()) == 2

    out, error = capfd.readouterr()
    assert out == ""
    assert error.splitlines()[0].startswith(f"charnn: error: {said}")
    assert (len(error.splitlines()) == 2) == (hint is not None)
    assert f"hint: {hint}" in error or not hint
    assert not any(word in error for word in ("Input should", "Value error", "Invalid value"))

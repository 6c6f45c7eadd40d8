"""Invalid options: one message, a hint, and the documented exit code."""

import pytest


def assert_refused(shell, *arguments, code, words=(), **options) -> None:
    """Check that a command fails with a message, without output and without a traceback."""
    done = shell.run(*arguments, code=code, **options)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "charnn: error: " in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("sample", "--temp", "nan"), "temp"),
        (("sample", "--temp", "inf"), "temp"),
        (("sample", "--temp", "-1"), "temp"),
        (("sample", "--top-p", "0"), "--top-p"),
        (("sample", "--top-p", "1.5"), "--top-p"),
        (("sample", "--top-k", "-1"), "--top-k"),
        (("sample", "-n", "-5"), "--max-new-tokens"),
        (("sample", "-n", "-1", "--samples", "2"), "-n -1"),
        (("train", "--hidden-size", "0"), "--hidden-size"),
        (("train", "--lr", "nan"), "--lr"),
        (("train", "--cell", "transformer"), "--cell"),
        (("train", "--epochs", "1", "--steps", "1"), "--epochs and --steps"),
        (("train", "--minutes", "1", "--deterministic"), "deterministic"),
        (("train", "--device", "cuda:99"), "cuda:99"),
        (("eval", "--device", "foo"), "--device is 'foo'"),
        (("sample", "--device", "foo"), "--device is 'foo'"),
        (("sample", "--device", "cuda:99999999999999999999"), "no such device"),
        (("score", "--threads", "0"), "--threads is 0"),
        (("eval", "--threads", "99999"), "--threads is 99999"),
        (("sampel",), "sample"),
        (("sample", "--tmp", "1"), "--temp"),
        (("prepare", "--val-frac", "1"), "--val-frac"),
        (("prepare", "--tokenizer", "word", "--word-pattern", "(", "lamp.txt"), "--word-pattern"),
        (("plot", "-o", "x.doc"), ".png"),
    ],
    ids=" ".join,
)
def test_invalid_option_is_named_in_the_error(trained, arguments, word) -> None:
    """The exit code is 2, and the message names the option or the most similar one."""
    assert_refused(trained, *arguments, code=2, words=(word,))


DEBUG = {
    "before": (("--debug", "sample", "nothing"), {}),
    "after": (("sample", "nothing", "--debug"), {}),
    "environment": (("sample", "nothing"), {"CHARNN_DEBUG": "1"}),
    "lab": (("lab", "gradients", "nothing", "--debug"), {}),
}


@pytest.mark.parametrize("place", DEBUG)
def test_debug_prints_a_traceback_before_the_message(trained, place) -> None:
    """Without --debug or CHARNN_DEBUG, only the message is printed."""
    arguments, environment = DEBUG[place]
    debug = trained.run(*arguments, code=2, env=environment).stderr
    plain = trained.run(*(a for a in arguments if a != "--debug"), code=2).stderr

    assert "Traceback" in debug
    assert "Traceback" not in plain
    assert plain in debug

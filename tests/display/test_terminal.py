"""What a stream can show: TERM, NO_COLOR and the encoding decide."""

import io
import locale

import pytest

from charnn.display.terminal import has_color, has_unicode, is_terminal, supports_control_codes


class Screen(io.TextIOWrapper):
    """A terminal with an encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        """Return True, or raise ValueError if it is closed."""
        return not super().isatty()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """A terminal with colors in a UTF-8 locale."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(locale, "getencoding", lambda: "UTF-8")


def test_a_stream_may_be_missing_or_closed() -> None:
    """Python has no sys.stdout where it was started without one."""
    closed = Screen()
    closed.close()

    assert is_terminal(Screen())
    assert not is_terminal(None)
    assert not is_terminal(closed)
    assert not is_terminal(io.StringIO())


@pytest.mark.parametrize(
    ("name", "value", "codes", "color"),
    [("TERM", "dumb", False, False), ("NO_COLOR", "1", True, False), ("NO_COLOR", "", True, True)],
)
def test_colors_depend_on_the_environment(monkeypatch, name, value, codes, color) -> None:
    """An empty NO_COLOR counts as not set (no-color.org)."""
    monkeypatch.setenv(name, value)

    assert supports_control_codes(Screen()) is codes
    assert has_color(Screen()) is color
    assert not has_color(io.StringIO())


def test_unicode_depends_on_the_encoding() -> None:
    """A stream without an encoding, such as a StringIO, shows everything."""
    assert has_unicode(Screen())
    assert not has_unicode(Screen("ascii"))
    assert has_unicode(io.StringIO())

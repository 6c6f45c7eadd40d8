"""Format sizes, durations, rates and measured values for people."""

import math
from collections import Counter
from typing import TypeGuard

MOST_FREQUENT = 5  # symbols listed in a message
_STEPS = ("", "k", "M", "G", "T", "P")  # powers of 1000
MINUTE, HOUR, DAY = 60, 3600, 86_400  # seconds


def size(number: float) -> str:
    """Format a number of bytes in powers of 1000: "812 B", "12.3 MB"."""
    value, step = _scaled(number)
    return f"{value:.1f} {step}B" if step else f"{value:.0f} B"


def compact(number: float) -> str:
    """Format a number in few characters: "950", "58.9k" for 58900, "2M", "0.25"."""
    if not math.isfinite(number):
        return str(number)
    value, step = _scaled(number)
    return f"{value:.1f}".removesuffix(".0") + step if step else f"{value:.3g}"


def exact(number: float) -> str:
    """Format a tick of an axis with all its decimals: "1.25k" for 1250, "0.25"."""
    value, step = _scaled(number)
    return f"{value:.6g}{step}"


def _scaled(number: float) -> tuple[float, str]:
    value = number
    for step in _STEPS[:-1]:
        if abs(round(value, 1)) < 1000:  # noqa: PLR2004 - so that 999,960 is 1.0 M, not 1000.0 k
            return value, step
        value /= 1000
    return value, _STEPS[-1]


def rate(per_second: float, unit: str) -> str:
    """Format a rate: 58900, "tok" → "58.9k tok/s"."""
    return f"{compact(per_second)} {unit}/s"


def duration(seconds: float) -> str:
    """Format seconds with at most two units: "0.4 s", "1 m 20 s", "2 h 05 m", "3 d 04 h"."""
    if not math.isfinite(seconds):
        return "?"
    if round(seconds, 1) < 1:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < MINUTE:
        return f"{total} s"
    if total < HOUR:
        return f"{total // MINUTE} m {total % MINUTE:02} s"
    if total < DAY:
        return f"{total // HOUR} h {total % HOUR // MINUTE:02} m"
    return f"{total // DAY:,} d {total % DAY // HOUR:02} h"


def percent(fraction: float) -> str:
    """Format a fraction: "92.2%"; one below 1 is never shown as 100%, but as "99.99%"."""
    decimals = next((n for n in range(1, 9) if round(100 * fraction, n) < 100), 0)  # noqa: PLR2004
    return f"{fraction:.{decimals}%}"


def is_partial(coverage: object) -> TypeGuard[float]:
    """Return whether a figure covers only this fraction of the characters of a text."""
    return isinstance(coverage, float) and coverage < 1


def covering(figure: str, coverage: object) -> str:
    """Add to a figure which part of the text it covers, unless it covers all of it.

    "1.683 bits/char", 0.922 → "1.683 bits/char (covers 92.2% of the characters)".
    """
    if not is_partial(coverage):
        return figure
    return f"{figure} (covers {percent(coverage)} of the characters)"


def figure(value: float | None) -> str:
    """Format a measured value with about four digits: "1.602", "52.1", "1,204"; "-" if missing."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0  # noqa: PLR2004
    return f"{value:,.{digits}f}" if abs(value) < 1e6 else f"{value:.2e}"  # noqa: PLR2004


def most_frequent(counts: Counter[str]) -> str:
    """Format the most frequent symbols with their counts: "'é' ×12, '€' ×3"."""
    return ", ".join(f"{s!r} ×{n:,}" for s, n in counts.most_common(MOST_FREQUENT))

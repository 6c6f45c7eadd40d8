"""Color text by surprisal."""

import codecs
import math
from collections.abc import Iterable

from charnn.escape import visible

# (bits from which on, xterm's 256 colours: background, foreground): from blue over grey to yellow
# as in cividis, which looks the same to colour-blind eyes (Nuñez, Anderton and Renslow, 2018).
LEVELS = (
    (0.0, ""),
    (1.0, "\x1b[48;5;17;38;5;255m"),
    (2.0, "\x1b[48;5;60;38;5;255m"),
    (4.0, "\x1b[48;5;102;38;5;16m"),
    (6.0, "\x1b[48;5;144;38;5;16m"),
    (8.0, "\x1b[48;5;227;38;5;16m"),
)
UNKNOWN = "\x1b[7m"  # reverse: the model has no number for it
RESET = "\x1b[0m"


def painted(tokens: Iterable[tuple[bytes, float]]) -> str:
    """The text of (bytes, bits) in colour, harmless otherwise, on one line.

    Bits that are NaN stand for a token that the model does not know. A character spread over
    tokens has the colour of the last of them.
    """
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    painted, current = [], ""
    for piece, bits in tokens:
        text = decode(piece)
        if not text:
            continue
        style = UNKNOWN if math.isnan(bits) else style_of(bits)
        if style != current:
            painted.append((RESET if current else "") + style)
            current = style
        painted.append(visible(text, one_line=True))
    painted.append((RESET if current else "") + visible(decode(b"", True), one_line=True))
    return "".join(painted)


def style_of(bits: float) -> str:
    """What a terminal is told before a token of so many bits."""
    return [style for least, style in LEVELS if bits >= least or least == 0][-1]

"""Encode a text in parts, with the same ids as for the whole text."""

import codecs

from charnn.tokenizers.tokenizer import Encoded, Tokenizer


class IncrementalEncoder:
    """An encoder for a text in parts. It delays the end of a part that the next one can change."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def encode(self, part: bytes, *, final: bool) -> Encoded:
        """Return the next ids, (T,); offsets are those in their text.

        A `final` part ends the text; the next part begins a new one.
        """
        if self._tokenizer.reads_bytes:
            return self._tokenizer.encode(part)
        text = self._held + self._decoder.decode(part, final)
        cut = len(text) if final else self._tokenizer.safe_cut(text)
        self._held = text[cut:]
        return self._tokenizer.encode(text[:cut])

"""Convert text to token ids and back, without loss.

Characters and bytes go through a table in NumPy, words through `re`; byte-pair units are learnt and
encoded by the `tokenizers` library, which is imported for nothing else.
"""

import codecs
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charnn.arrays import Ids, Integers
from charnn.errors import UsageError
from charnn.tokenizers.bpe import BytePairs, cut_safely, learn
from charnn.tokenizers.words import WORD_PATTERN, compiled, words

SLICE = 1 << 20  # characters encoded at once; bounds the memory for their code points
CODE_POINTS = 0x110000
REPLACEMENT = "\ufffd".encode()
BPE_VOCAB_SIZE = 1024
BYTES = 256

Text = str | bytes


class Tokenizer:
    """A vocabulary and how text is cut into its units.

    `pieces[id]` is the UTF-8 of a token. `unk_id` is the id that stands for symbols outside the
    vocabulary, None for bytes and byte-pair units, which spell everything; no text spells it.
    """

    def __init__(
        self,
        kind: str,
        pieces: Sequence[bytes],
        *,
        unk_id: int | None = None,
        word_pattern: str = WORD_PATTERN,
        merges: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.kind = kind
        self.pieces = list(pieces)
        self.unk_id = unk_id
        self.word_pattern = word_pattern
        self.merges = list(merges)
        self.dtype = narrowest_dtype(len(self.pieces))
        self._encode: Callable[[Any], Ids] = _ENCODERS[kind](self)

    @property
    def vocab_size(self) -> int:
        """Number of token types V, `<unk>` included."""
        return len(self.pieces)

    @property
    def byte_lengths(self) -> Integers:
        """Bytes of each token, (V,); 0 for `<unk>`."""
        return self._lengths(len)

    @property
    def char_lengths(self) -> Integers:
        """Characters that begin in each token, (V,); 0 for `<unk>`."""
        return self._lengths(_characters_in)

    def _lengths(self, measure: Callable[[bytes], int]) -> Integers:
        lengths = np.array([measure(piece) for piece in self.pieces], np.int64)
        if self.unk_id is not None:
            lengths[self.unk_id] = 0
        return lengths

    def encode(self, text: Text) -> Ids:
        """Ids of a text, (N,), in the narrowest type; `bytes` go into a byte tokenizer alone."""
        return self._encode(text)

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids spell; `<unk>` is U+FFFD."""
        return b"".join([self.pieces[index] for index in ids])

    def decoder(self) -> "Decoder":
        """A decoder for ids that come one by one."""
        return Decoder(self.pieces)

    def unknown_symbols(self, text: Text) -> Counter[str]:
        """How often each symbol outside the vocabulary occurs in a text."""
        return Counter(symbol for _, symbol in self._unknown(text))

    def unknown_positions(self, text: Text, limit: int = 3) -> list[tuple[int, str]]:
        """The first symbols outside the vocabulary, with their offsets in characters."""
        return list(itertools.islice(self._unknown(text), limit))

    def _unknown(self, text: Text) -> Iterator[tuple[int, str]]:
        if self.unk_id is None or isinstance(text, bytes):
            return
        if self.kind == "char":
            for start in range(0, len(text), SLICE):
                part = text[start : start + SLICE]
                for place in np.flatnonzero(self.encode(part) == self.unk_id).tolist():
                    yield start + place, part[place]
        else:
            known = {piece for index, piece in enumerate(self.pieces) if index != self.unk_id}
            offset = 0
            for word in words(text, compiled(self.word_pattern)):
                if _utf8(word) not in known:
                    yield offset, word
                offset += len(word)


class Decoder:
    """Ids to text as they come; a character that is spread over tokens waits for its last one."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, index: int) -> str:
        """The characters that this token completes."""
        return self._decoder.decode(self._pieces[index])

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character cut short."""
        return self._decoder.decode(b"", True)


def build(
    kind: str,
    text: Text,
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
    word_pattern: str | None = None,
) -> Tokenizer:
    """The tokenizer of one kind whose vocabulary is that of a text.

    `vocab_size` is the most it may hold, `<unk>` included; symbols seen less than `min_count`
    times become `<unk>`. Raises UsageError where an option does not go with the kind.
    """
    if word_pattern is not None and kind != "word":
        raise UsageError("--word-pattern goes with --tokenizer word")
    if min_count > 1 and kind in ("byte", "bpe"):
        raise UsageError(f"--min-count does not go with --tokenizer {kind}")
    return TOKENIZERS[kind](text, vocab_size, min_count, word_pattern or WORD_PATTERN)


def _build_char(text: Text, vocab_size: int | None, min_count: int, _: str) -> Tokenizer:
    """Characters in the order of their code points, then `<unk>`."""
    assert isinstance(text, str)
    counts = np.zeros(CODE_POINTS, np.int64)
    for codes in _code_points(text):
        present = np.bincount(codes)
        counts[: len(present)] += present
    counts[0xD800:0xE000] = 0  # surrogates are no characters, and have no UTF-8
    frequent = {int(code): int(counts[code]) for code in np.flatnonzero(counts >= min_count)}
    kept = sorted(_most_frequent(frequent, vocab_size))
    return Tokenizer(
        "char", [*(chr(code).encode() for code in kept), REPLACEMENT], unk_id=len(kept)
    )


def _build_byte(_: Text, vocab_size: int | None, __: int, ___: str) -> Tokenizer:
    if vocab_size is not None:
        raise UsageError("--vocab-size does not go with --tokenizer byte: there are 256 bytes")
    return Tokenizer("byte", [bytes([value]) for value in range(BYTES)])


def _build_word(text: Text, vocab_size: int | None, min_count: int, word_pattern: str) -> Tokenizer:
    """Words from the most frequent down, equally frequent ones by their text, then `<unk>`."""
    assert isinstance(text, str)
    counts = Counter(words(text, compiled(word_pattern)))
    frequent = {word: n for word, n in counts.items() if n >= min_count and _is_text(word)}
    kept = _most_frequent(frequent, vocab_size)
    pieces = [*map(_utf8, kept), REPLACEMENT]
    return Tokenizer("word", pieces, unk_id=len(kept), word_pattern=word_pattern)


def _build_bpe(text: Text, vocab_size: int | None, _: int, __: str) -> Tokenizer:
    """The 256 bytes, then units by repeated merging (Sennrich, Haddow and Birch, 2016)."""
    assert isinstance(text, str)
    size = BPE_VOCAB_SIZE if vocab_size is None else vocab_size
    if size < BYTES:
        raise UsageError(f"--vocab-size {size}: byte-pair units begin with the {BYTES} bytes")
    pieces, merges = learn(cut_safely(text, SLICE), size)
    return Tokenizer("bpe", pieces, merges=merges)


TOKENIZERS: dict[str, Callable[[Text, int | None, int, str], Tokenizer]] = {
    "char": _build_char,
    "byte": _build_byte,
    "word": _build_word,
    "bpe": _build_bpe,
}


def _most_frequent(counts: dict[Any, int], vocab_size: int | None) -> list[Any]:
    """Symbols from the most frequent down, ties by symbol, as many as leave room for `<unk>`."""
    ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    return ordered if vocab_size is None else ordered[: vocab_size - 1]


def _char_encoder(tokenizer: Tokenizer) -> Callable[[str], Ids]:
    assert tokenizer.unk_id is not None
    table = np.full(CODE_POINTS, tokenizer.unk_id, tokenizer.dtype)
    for index, piece in enumerate(tokenizer.pieces):
        if index != tokenizer.unk_id:
            table[ord(piece.decode())] = index

    def encode(text: str) -> Ids:
        ids = np.empty(len(text), tokenizer.dtype)
        for number, codes in enumerate(_code_points(text)):
            np.take(table, codes, out=ids[number * SLICE :][: len(codes)])
        return ids

    return encode


def _byte_encoder(tokenizer: Tokenizer) -> Callable[[Text], Ids]:
    def encode(text: Text) -> Ids:
        return np.frombuffer(_utf8(text) if isinstance(text, str) else text, tokenizer.dtype)

    return encode


def _word_encoder(tokenizer: Tokenizer) -> Callable[[str], Ids]:
    pattern = compiled(tokenizer.word_pattern)
    unk_id = tokenizer.unk_id
    assert unk_id is not None
    ids = {_text(piece): i for i, piece in enumerate(tokenizer.pieces) if i != unk_id}

    def encode(text: str) -> Ids:
        found = (ids.get(word, unk_id) for word in words(text, pattern))
        return np.fromiter(found, tokenizer.dtype)

    return encode


def _bpe_encoder(tokenizer: Tokenizer) -> Callable[[str], Ids]:
    library: list[BytePairs] = []  # made at the first use: a model that only writes needs none

    def encode(text: str) -> Ids:
        if not library:
            library.append(BytePairs(tokenizer.pieces, tokenizer.merges))
        return library[0].encode(cut_safely(text, SLICE), tokenizer.dtype)

    return encode


_ENCODERS: dict[str, Callable[[Tokenizer], Callable[[Any], Ids]]] = {
    "char": _char_encoder,
    "byte": _byte_encoder,
    "word": _word_encoder,
    "bpe": _bpe_encoder,
}


def _code_points(text: str) -> Iterator[npt.NDArray[np.uint32]]:
    """The code points of a text, a slice at a time."""
    for start in range(0, len(text), SLICE):
        part = text[start : start + SLICE]
        if part.isascii():  # one byte a character is a quarter of the work
            yield np.frombuffer(part.encode("ascii"), np.uint8)
        else:
            yield np.frombuffer(part.encode("utf-32-le", "surrogatepass"), "<u4")


def narrowest_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrowest little-endian unsigned type that holds every id."""
    return np.dtype("<u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


def _characters_in(piece: bytes) -> int:
    return sum(1 for byte in piece if byte & 0xC0 != 0x80)  # noqa: PLR2004 - not a continuation


def _is_text(symbol: str) -> bool:
    return symbol.isascii() or not any("\ud800" <= character <= "\udfff" for character in symbol)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "surrogatepass")

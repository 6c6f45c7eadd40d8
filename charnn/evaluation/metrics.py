"""Compute loss, perplexity, bits per character and per byte from sums of nats.

These formulas are defined only here.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from charnn.arrays import Doubles, Ids, Integers
from charnn.display import humanize
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.unknown_model import UnknownCost

NATS_PER_BIT = math.log(2)
NOT_KNOWN = UnknownCost()


# Losses of neighboring tokens are correlated. A standard error is computed from the sums of blocks
# of this many tokens, or of fewer in a short text, so that it has MIN_BLOCKS of them.
BLOCK_TOKENS, MIN_BLOCKS = 1000, 40


@dataclass(frozen=True)
class BlockMoments:
    """Sums over blocks of s², s·t and t², for the nats s and the tokens t of each block."""

    blocks: int = 0
    nats_squared: float = 0.0
    nats_tokens: float = 0.0
    tokens_squared: float = 0.0

    def __add__(self, other: "BlockMoments") -> "BlockMoments":
        return BlockMoments(
            self.blocks + other.blocks,
            self.nats_squared + other.nats_squared,
            self.nats_tokens + other.nats_tokens,
            self.tokens_squared + other.tokens_squared,
        )


class BlockSums:
    """The nats and tokens of the blocks of a text, `scored` tokens of which are scored."""

    def __init__(self, scored: int) -> None:
        self._tokens_per_block = min(BLOCK_TOKENS, max(1, scored // MIN_BLOCKS))
        self._sums: dict[int, Doubles] = {}  # nats and tokens by block

    def add(self, positions: Integers, nats: Doubles) -> None:
        """Add tokens by their position in the text, (N,), and their -ln p, (N,)."""
        blocks, which = np.unique(positions // self._tokens_per_block, return_inverse=True)
        sums = np.stack([np.bincount(which, nats), np.bincount(which)], axis=1)
        for block, some in zip(blocks.tolist(), sums, strict=True):
            self._sums[block] = self._sums.get(block, 0.0) + some

    def moments(self) -> BlockMoments:
        """Return the moments of the blocks."""
        sums = np.reshape(list(self._sums.values()), (-1, 2))
        (nats_squared, product), (_, tokens_squared) = (sums.T @ sums).tolist()
        return BlockMoments(len(sums), nats_squared, product, tokens_squared)


@dataclass(frozen=True, repr=False)
class Score:
    """The score of a text, as sums, so that the scores of its parts can be added.

    `nats` is the sum of -ln p over the scored tokens, `blocks` the moments of its parts.
    `tokens`, `chars` and `bytes` count the scored text. `unknown` counts out-of-vocabulary tokens,
    which are not included in these sums; `unknown_chars` are their characters. `charge` is what
    `bits_per_char_all` adds to `nats`: the cost of the out-of-vocabulary tokens, and of the tokens
    that are not.
    """

    nats: float = 0.0
    tokens: int = 0
    chars: int = 0
    bytes: int = 0
    unknown: int = 0
    unknown_chars: float = 0.0
    charge: float = 0.0
    blocks: BlockMoments = BlockMoments()

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.chars + other.chars,
            self.bytes + other.bytes,
            self.unknown + other.unknown,
            self.unknown_chars + other.unknown_chars,
            self.charge + other.charge,
            self.blocks + other.blocks,
        )

    def __repr__(self) -> str:
        covered = (
            f"coverage={humanize.percent(self.coverage)}, "
            f"bits_per_char_all={self.bits_per_char_all:.4f}, "
            if self.unknown
            else ""
        )
        return (
            f"Score(bits_per_char={self.bits_per_char:.4f}, {covered}"
            f"perplexity={self.perplexity:.4g}, "
            f"loss={self.loss:.4f}, tokens={self.tokens}, chars={self.chars}, "
            f"bytes={self.bytes}, unknown={self.unknown})"
        )

    @property
    def loss(self) -> float:
        """Mean nats per token; NaN if nothing was scored."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def loss_stderr(self) -> float:
        """Standard error of `loss` in nats, from the variance of the losses of blocks of text.

        The blocks are taken as independent: Cochran, "Sampling techniques", 1977, §6.4, the
        variance of a ratio estimator. NaN if there is only one block.
        """
        found, loss = self.blocks, self.loss
        if found.blocks < 2:  # noqa: PLR2004 - a variance needs two values
            return math.nan
        squares = found.nats_squared - 2 * loss * found.nats_tokens
        squares = max(0.0, squares + loss**2 * found.tokens_squared)
        return math.sqrt(squares * found.blocks / (found.blocks - 1)) / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return perplexity(self.loss)

    @property
    def bits_per_char(self) -> float:
        """Bits per character of the scored text."""
        return bits(self.nats, self.chars)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the scored text."""
        return bits(self.nats, self.bytes)

    @property
    def coverage(self) -> float:
        """Fraction of the characters that the other metrics cover; 1 without unknown tokens.

        NaN if the characters of the unknown tokens are not known.
        """
        chars = self.chars + self.unknown_chars
        return (self.chars / chars if chars else math.nan) if self.unknown else 1.0

    @property
    def bits_per_char_all(self) -> float:
        """Bits per character of the whole text, with its unknown tokens; NaN if not known."""
        return bits(self.nats + self.charge, self.chars + self.unknown_chars)

    @property
    def comparable_bits(self) -> float:
        """`bits_per_char_all`, or `bits_per_char` where that is not known."""
        bits_all = self.bits_per_char_all
        return self.bits_per_char if math.isnan(bits_all) else bits_all

    def as_dict(self) -> dict[str, float | int]:
        """Return the metrics under the names that they have in all JSON output."""
        return {
            "tokens": self.tokens,
            "unknown": self.unknown,
            "coverage": self.coverage,
            "loss": self.loss,
            "loss_stderr": self.loss_stderr,
            "perplexity": self.perplexity,
            "bits_per_char": self.bits_per_char,
            "bits_per_byte": self.bits_per_byte,
            "bits_per_char_all": self.bits_per_char_all,
        }


@dataclass(frozen=True)
class TokenLengths:
    """The numbers of characters and bytes of each token by id, (V,), and the id of `<unk>`.

    `unknown` is the cost of the out-of-vocabulary tokens of the text to be scored.
    """

    chars: Integers
    bytes: Integers
    unk_id: int | None
    unknown: UnknownCost = NOT_KNOWN

    @classmethod
    def of(cls, tokenizer: Tokenizer, unknown: UnknownCost = NOT_KNOWN) -> "TokenLengths":
        """Return the lengths of the tokens of a tokenizer."""
        return cls(tokenizer.char_lengths, tokenizer.byte_lengths, tokenizer.unk_id, unknown)

    def score(self, nats: Doubles, targets: Ids) -> Score:
        """Return the score of a text from its targets, (N,), and -ln p of each, (N,).

        Negative targets are ignored; `<unk>` is not scored either, but counted as `unknown`.
        """
        positions = np.flatnonzero(mask_unknown(targets, self.unk_id) >= 0)
        sums = BlockSums(len(positions))
        sums.add(positions, nats[positions])
        return replace(self.score_part(nats, targets), blocks=sums.moments())

    def score_part(self, nats: Doubles, targets: Ids) -> Score:
        """Return the score of some tokens as `score` does, without the moments of blocks."""
        scored = mask_unknown(targets, self.unk_id) >= 0
        ids, nats = targets[scored], nats[scored]
        unknown = int(np.count_nonzero(targets >= 0)) - len(ids)
        charge = 0.0 if self.unk_id is None else len(ids) * self.unknown.known
        return Score(
            nats=float(nats.sum()),
            tokens=len(ids),
            chars=int(self.chars[ids].sum()),
            bytes=int(self.bytes[ids].sum()),
            unknown=unknown,
            unknown_chars=unknown * self.unknown.chars if unknown else 0.0,
            charge=charge + unknown * self.unknown.nats if unknown else charge,
        )


def mask_unknown(targets: Ids, unk_id: int | None) -> Integers:
    """Return targets with `<unk>` replaced by -1; negative targets are not scored.

    The probability of `<unk>` is not the probability of the symbol that it replaces.
    """
    masked = targets.astype(np.int64)
    if unk_id is not None:
        masked[masked == unk_id] = -1
    return masked


def perplexity(loss: float) -> float:
    """Return exp(loss) for a loss in nats per token; inf if it overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def bits(nats: float, units: float) -> float:
    """Convert nats to bits per unit (character or byte); NaN if there are no units."""
    return nats / NATS_PER_BIT / units if units else math.nan

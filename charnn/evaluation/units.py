"""What a token is worth in characters and bytes, and what nats of tokens add up to.

Never knows: torch, models, or where the nats came from.
"""

from dataclasses import dataclass

import numpy as np

from charnn.arrays import Doubles, Ids, Integers
from charnn.evaluation.metrics import Score
from charnn.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Units:
    """Characters and bytes by id (V,), and the id that is counted but not scored."""

    chars: Integers
    bytes: Integers
    unk_id: int | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Units":
        """The units of a tokenizer's vocabulary."""
        return cls(tokenizer.char_lengths, tokenizer.byte_lengths, tokenizer.unk_id)

    def score(self, nats: Doubles, ids: Ids) -> Score:
        """The sums over N tokens, (N,), and -ln p of each, (N,)."""
        known = np.ones(len(ids), bool) if self.unk_id is None else ids != self.unk_id
        ids, nats = ids[known], nats[known]
        return Score(
            nats=float(nats.sum()),
            squares=float(np.square(nats).sum()),
            tokens=len(ids),
            chars=int(self.chars[ids].sum()),
            bytes=int(self.bytes[ids].sum()),
            unknown=len(known) - len(ids),
        )

"""The spelling of out-of-vocabulary symbols by its definition, with dictionaries."""

import math
from collections import Counter

BEGIN, END, ORDER = b"\xfe", b"\xff", 5


class SlowSpelling:
    """An interpolated Kneser–Ney 5-gram model of bytes, with 256 outcomes."""

    def __init__(self, examples, *, ends: bool) -> None:
        self.end = END if ends else b""
        self.counts = {ORDER: Counter(g for symbol in examples for g in self.ngrams(symbol))}
        for n in range(ORDER - 1, 0, -1):  # the different bytes before an n-gram
            self.counts[n] = Counter(ngram[1:] for ngram in self.counts[n + 1])

    def ngrams(self, symbol: str) -> list[bytes]:
        """Return the 5-gram that ends at each byte."""
        spelled = symbol.encode("utf-8", "surrogatepass") + self.end
        text = BEGIN * (ORDER - 1) + spelled
        return [text[i : i + ORDER] for i in range(len(spelled))]

    def p(self, ngram: bytes) -> float:
        """Return the probability of the last byte after those before it."""
        if not ngram:
            return 1 / 256
        counts, lower = self.counts[len(ngram)], self.p(ngram[1:])
        after = {other: c for other, c in counts.items() if other[:-1] == ngram[:-1]}
        if not after:
            return lower
        once, twice = (sum(c == n for c in counts.values()) for n in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        total = sum(after.values())
        seen = max(counts[ngram] - discount, 0) / total
        return seen + discount * len(after) / total * lower

    def nats(self, symbol: str) -> float:
        """Return -ln p of the spelling."""
        return -sum(math.log(self.p(ngram)) for ngram in self.ngrams(symbol))

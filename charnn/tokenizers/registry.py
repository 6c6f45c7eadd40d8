"""Registry of the tokenizers by name."""

from charnn.tokenizers.bpe import BpeTokenizer
from charnn.tokenizers.byte import ByteTokenizer
from charnn.tokenizers.char import CharTokenizer
from charnn.tokenizers.tokenizer import Tokenizer
from charnn.tokenizers.words import WordTokenizer

KINDS: tuple[type[Tokenizer], ...] = (CharTokenizer, ByteTokenizer, WordTokenizer, BpeTokenizer)
TOKENIZERS = {kind.kind: kind for kind in KINDS}

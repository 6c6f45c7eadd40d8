"""tokenizer.json from untrusted sources: invalid documents are refused."""

import json
import time

import pytest

from charnn.errors import DataError
from charnn.tokenizers.registry import TOKENIZERS
from charnn.tokenizers.tokenizer_json import dump_tokenizer, load_tokenizer


def document(kind="char", **changes):
    whole = json.loads(dump_tokenizer(TOKENIZERS[kind].build("hello there")))
    whole.update(changes)
    return whole


def with_model(kind="char", **changes):
    whole = document(kind)
    whole["model"].update(changes)
    return whole


CRAFTED = {
    "not json": "{",
    "a list": "[]",
    "empty object": {},
    "deep nesting": "[" * 100_000,
    "repeated key": '{"version":"1.0","version":"1.0"}',
    "nan": '{"version": NaN}',
    "another version": document(version="2.0"),
    "padding to two billion": document(padding={"strategy": {"Fixed": 2_000_000_000}}),
    "truncation": document(truncation={"max_length": 1}),
    "normalizer": document(normalizer={"type": "NFKC"}),
    "post processor": document(post_processor={"type": "TemplateProcessing"}),
    "added tokens": document(added_tokens=[{"id": 0, "content": "x"}]),
    "unknown pre-tokenizer": document(pre_tokenizer={"type": "Whitespace"}),
    "no model": document(model=None),
    "unigram": with_model(type="Unigram"),
    "no vocabulary": with_model(vocab={}),
    "ids with a gap": with_model(vocab={"a": 0, "<unk>": 5_000_000}),
    "ids repeated": with_model(vocab={"a": 0, "b": 0, "<unk>": 1}),
    "negative id": with_model(vocab={"a": -1, "<unk>": 0}),
    "huge id": with_model(vocab={"a": 2**40, "<unk>": 0}),
    "id that is true": with_model(vocab={"a": True, "<unk>": 0}),
    "id that is a float": with_model(vocab={"a": 1.0, "<unk>": 0}),
    "no unk": with_model(unk_token="zzz"),
    "unk of another kind": with_model(unk_token=["<unk>"]),
    "long character": with_model(vocab={"ab": 0, "<unk>": 1}),
    "lone surrogate": with_model(vocab={"\ud800": 0, "<unk>": 1}),
    "broken pattern": document("word", pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}}),
    "endless pattern": document(
        "word", pre_tokenizer={"type": "Split", "pattern": {"Regex": "a" * 10_000}}
    ),
    "inverted split": document(
        "word",
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": "a"},
            "behavior": "Removed",
            "invert": True,
        },
    ),
    "bytes missing": with_model("bpe", vocab={"a": 0}),
    "bytes permuted": with_model(
        "byte", vocab={k: 255 - v for k, v in document("byte")["model"]["vocab"].items()}
    ),
    "merge of unknown parts": with_model("bpe", merges=[["q", "zz"]]),
    "merge of three": with_model("bpe", merges=[["a", "b", "c"]]),
    "merge that is a string": with_model("bpe", merges=["a b"]),
    "merges that are not a list": with_model("bpe", merges=7),
    "dropout": with_model("bpe", dropout=0.5),
    "outside the alphabet": with_model("bpe", vocab={"中": 0}),
}


@pytest.mark.parametrize("crafted", CRAFTED.values(), ids=CRAFTED)
def test_crafted_documents_are_data_errors(crafted) -> None:
    """Within a second, without a crash or a large allocation."""
    text = crafted if isinstance(crafted, str) else json.dumps(crafted)
    begin = time.perf_counter()
    with pytest.raises(DataError, match="tokenizer"):
        load_tokenizer(text)

    assert time.perf_counter() - begin < 1

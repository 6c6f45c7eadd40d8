"""Initialization from another model: symbols are matched, shapes must agree."""

import pytest
import torch

from charnn.errors import DataError
from charnn.model.model_file import ModelFile
from charnn.tokenizers.char import CharTokenizer
from charnn.training.init_from import copy_weights
from tests.tiny import random_tensors, tiny_config


def model_file(text: str) -> ModelFile:
    """Return a model with random weights for the characters of a text."""
    tokenizer = CharTokenizer.build(text)
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    return ModelFile(config, tokenizer, 0, random_tensors(config))


def test_rows_are_copied_by_symbol(make_model) -> None:
    """Ids differ between vocabularies; a new symbol keeps its row."""
    source, tokenizer = model_file("abcd"), CharTokenizer.build("xdb")
    model = make_model(vocab_size=tokenizer.vocab_size)
    before = model.output.weight.detach().clone()
    shared = set(tokenizer.pieces) & set(source.tokenizer.pieces)

    assert copy_weights(source, model, tokenizer) == len(shared)
    for index, piece in enumerate(tokenizer.pieces):
        theirs = source.tensors["output.weight"]
        expected = (
            torch.from_numpy(theirs[source.tokenizer.pieces.index(piece)])
            if piece in shared
            else before[index]
        )
        assert torch.equal(model.output.weight[index], expected)
    assert torch.equal(
        model.named_tensors()["layers.0.weight_hh"],
        torch.from_numpy(source.tensors["layers.0.weight_hh"]),
    )


@pytest.mark.parametrize("other", [{"cell": "gru"}, {"hidden_size": 6}, {"num_layers": 2}], ids=str)
def test_different_shape_is_a_data_error(make_model, other) -> None:
    """The message names a tensor and both shapes."""
    source = model_file("abcd")

    with pytest.raises(DataError, match="a different shape"):
        copy_weights(
            source, make_model(vocab_size=source.tokenizer.vocab_size, **other), source.tokenizer
        )

"""The specification of a network: names and shapes of its tensors."""

from charnn.model.spec import CELL_SPECS, tensor_shapes, textbook_names
from tests.tiny import tiny_config


def test_shapes_of_a_two_layer_lstm() -> None:
    """One block of rows per gate; layer 0 reads embeddings, layer 1 hidden states."""
    assert tensor_shapes(tiny_config("lstm", 2, vocab_size=11, hidden_size=7)) == {
        "embedding.weight": (11, 5),
        "layers.0.weight_ih": (28, 5),
        "layers.0.weight_hh": (28, 7),
        "layers.0.bias": (28,),
        "layers.1.weight_ih": (28, 7),
        "layers.1.weight_hh": (28, 7),
        "layers.1.bias": (28,),
        "output.weight": (11, 7),
        "output.bias": (11,),
    }


def test_tied_output_weights_have_no_tensor() -> None:
    """The embedding is also the output matrix."""
    tied = tensor_shapes(tiny_config("gru", tie=True))

    assert "output.weight" not in tied
    assert tied["embedding.weight"] == (11, 7)


def test_textbook_names() -> None:
    """W_xh, W_hh, b_h with a letter for each gate; W_hq and b_q for the output layer."""
    assert textbook_names("layers.0.weight_ih", "rnn") == "W_xh"
    assert textbook_names("layers.0.weight_hh", "rnn") == "W_hh"
    assert textbook_names("layers.3.bias", "rnn") == "b_h"
    assert textbook_names("layers.0.weight_hh", "lstm") == "W_hi W_hf W_hg W_ho"
    assert textbook_names("output.weight", "gru") == "W_hq"
    assert textbook_names("output.bias", "gru") == "b_q"


def test_keeping_and_writing_gates_exist() -> None:
    """They are gates of the cell, or ""."""
    for spec in CELL_SPECS.values():
        assert {spec.keeping_gate, spec.writing_gate} <= {"", *spec.gates}

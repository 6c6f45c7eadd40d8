"""The language model: shapes, names, tying, carried state, dropout."""

import numpy as np
import pytest
import torch

from charnn.model.language_model import continued_state, detach
from charnn.model.layers import LAYERS
from charnn.model.spec import tensor_shapes

SHAPES = pytest.mark.parametrize("num_layers", [1, 3])
TYING = pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
EVERY_CELL = pytest.mark.parametrize("cell", sorted(LAYERS))


@EVERY_CELL
@SHAPES
@TYING
def test_named_tensors_match_the_file_format(make_model, cell, num_layers, tie) -> None:
    """Names and shapes of the parameters are those of `tensor_shapes`."""
    model = make_model(cell, num_layers, tie=tie)
    shapes = {name: tuple(t.shape) for name, t in model.named_tensors().items()}

    assert shapes == tensor_shapes(model.config)


@EVERY_CELL
@SHAPES
def test_carried_state_equals_one_forward_pass(make_model, cell, num_layers) -> None:
    """A text in parts, with carried state, gives the same logits."""
    model = make_model(cell, num_layers).eval()
    inputs = torch.randint(11, (2, 30))
    whole, _ = model(inputs, model.initial_state(2))
    state, pieces = model.initial_state(2), []
    for piece in inputs.split([1, 12, 17], dim=1):
        logits, state = model(piece, state)
        pieces.append(logits)

    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-5)


@EVERY_CELL
def test_logits_match_the_equations(make_model, cell) -> None:
    """Embedding, layer, h W_hq + b_q; a change of an input does not change earlier logits."""
    model = make_model(cell).eval()
    inputs = torch.randint(11, (1, 6))
    logits, state = model(inputs, model.initial_state(1))
    outputs, _ = model.layers[0](model.embedding.weight[inputs], model.initial_state(1))

    expected = outputs @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(state[0], outputs[:, -1], rtol=0, atol=1e-6)
    inputs[0, 4] = (inputs[0, 4] + 1) % 11
    changed, _ = model(inputs, model.initial_state(1))
    torch.testing.assert_close(changed[:, :4], logits[:, :4], rtol=0, atol=1e-6)
    assert not torch.allclose(changed[:, 4:], logits[:, 4:])


def test_tied_weights_share_storage(make_model) -> None:
    """Embedding and output are one parameter and one tensor in the file."""
    model = make_model(tie=True)

    assert model.output.weight is model.embedding.weight
    assert "output.weight" not in model.named_tensors()


def test_detach_keeps_values_without_gradient(make_model) -> None:
    """No gradient flows through a detached state."""
    model = make_model()
    _, state = model(torch.randint(11, (2, 5)), model.initial_state(2))
    cut = detach(state)

    assert all(part.requires_grad for part in state)
    assert not any(part.requires_grad for part in cut)
    assert all(torch.equal(a, b) for a, b in zip(state, cut, strict=True))


def test_only_fresh_rows_begin_from_zero(make_model) -> None:
    """The other rows are bit-identical; rows that the batch does not have any more are dropped."""
    model, fresh = make_model(), np.array([False, True, False])
    state = tuple(torch.randn_like(part) for part in model.initial_state(4))

    for before, after in zip(state, continued_state(model, state, fresh), strict=True):
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert after.shape == (3, 7)
        assert not after[1].any()
    for none in (continued_state(model, None, fresh), continued_state(model, state, fresh | True)):
        assert [part.shape for part in none] == [(3, 7)] * len(state)
        assert not any(part.any() for part in none)


def test_load_tensors_copies_all_weights(make_model) -> None:
    """A model with loaded tensors gives the same logits."""
    one, two = make_model(seed=1).eval(), make_model(seed=2).eval()
    two.load_tensors({name: t.detach().clone() for name, t in one.named_tensors().items()})
    inputs = torch.randint(11, (1, 8))

    assert torch.equal(one(inputs, one.initial_state(1))[0], two(inputs, two.initial_state(1))[0])


def test_dropout_only_in_training_mode(make_model) -> None:
    """Two training passes differ, two evaluation passes do not."""
    model = make_model(num_layers=2, between=0.5, inputs=0.5)
    inputs = torch.randint(11, (2, 8))

    def run():
        return model(inputs, model.initial_state(2))[0]

    assert not torch.equal(run(), run())
    model.eval()
    assert torch.equal(run(), run())


def test_embedding_dropout_drops_whole_tokens(make_model) -> None:
    """The embedding of a token is zero at all its positions, or scaled up at all of them."""
    model = make_model(embeddings=0.5)
    inputs = torch.arange(11).repeat(4, 3)
    torch.manual_seed(1)
    ratio = (model._embed(inputs) / model.embedding.weight[inputs]).mean(dim=-1)

    for symbol in range(11):
        values = ratio[inputs == symbol]
        assert torch.allclose(values, values[0].expand_as(values))
        assert values[0].item() in (0.0, pytest.approx(2.0, rel=1e-5))

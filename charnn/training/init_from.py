"""Initialize a network from another model; match the vocabularies by symbol."""

import torch

from charnn.errors import DataError
from charnn.model.language_model import LanguageModel
from charnn.model.model_file import ModelFile
from charnn.tokenizers.tokenizer import Tokenizer


def copy_weights(source: ModelFile, model: LanguageModel, tokenizer: Tokenizer) -> int:
    """Copy the weights of a model file into `model`; return the number of shared symbols.

    The rows of new symbols keep their values. Raise DataError if the shapes of the layers differ.
    """
    own = model.named_tensors()
    rows = _shared_symbols(tokenizer.pieces, source.tokenizer.pieces)
    with torch.no_grad():
        for name, tensor in own.items():
            theirs = torch.tensor(source.tensors.get(name, ()), device=tensor.device)
            by_symbol = name.startswith(("embedding.", "output."))
            if (
                len(own) != len(source.tensors)
                or theirs.shape[by_symbol:] != tensor.shape[by_symbol:]
            ):
                raise DataError(
                    f"the model has a different shape: {name} is {tuple(theirs.shape)} in the "
                    f"file, {tuple(tensor.shape)} in this run",
                    "use the same --cell, --hidden-size, --num-layers and --embedding-dim",
                )
            if by_symbol:
                tensor[list(rows)] = theirs[list(rows.values())]
            else:
                tensor.copy_(theirs)
    return len(rows)


def _shared_symbols(own: list[bytes], theirs: list[bytes]) -> dict[int, int]:
    """Return the ids of the symbols in both vocabularies, as a mapping from `own` to `theirs`."""
    ids = {piece: index for index, piece in enumerate(theirs)}
    return {index: ids[piece] for index, piece in enumerate(own) if piece in ids}

"""Initialize a network from another model, mapping its vocabulary symbol by symbol."""

from pathlib import Path

import torch

from charnn.errors import DataError
from charnn.model.language_model import LanguageModel
from charnn.model.model_file import read_model
from charnn.tokenizers.tokenizer import Tokenizer


def inherit(model: LanguageModel, tokenizer: Tokenizer, path: Path) -> int:
    """Give `model` the weights in a file; the number of symbols that both know comes back.

    Rows of symbols that are new here keep their values. Raises DataError where the shapes of the
    layers differ.
    """
    loaded = read_model(path)
    own = model.named_tensors()
    rows = _shared_symbols(tokenizer.pieces, loaded.tokenizer.pieces)
    with torch.no_grad():
        for name, tensor in own.items():
            theirs = torch.tensor(loaded.tensors.get(name, ()), device=tensor.device)
            by_symbol = name.startswith(("embedding.", "output."))
            if (
                len(own) != len(loaded.tensors)
                or theirs.shape[by_symbol:] != tensor.shape[by_symbol:]
            ):
                raise DataError(
                    f"{path} has another shape: {name} is {tuple(theirs.shape)} there, "
                    f"{tuple(tensor.shape)} here",
                    "give the same --cell, --hidden-size, --num-layers and --embedding-dim",
                )
            if by_symbol:
                tensor[list(rows)] = theirs[list(rows.values())]
            else:
                tensor.copy_(theirs)
    return len(rows)


def _shared_symbols(own: list[bytes], theirs: list[bytes]) -> dict[int, int]:
    """Ids of the symbols that both vocabularies have: ours → theirs."""
    ids = {piece: index for index, piece in enumerate(theirs)}
    return {index: ids[piece] for index, piece in enumerate(own) if piece in ids}

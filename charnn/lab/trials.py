"""Small networks trained from plain settings, through the ordinary trainer, on the CPU.

Never knows: datasets on disk, runs, which claim is tried.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from charnn.config import ModelConfig, NetworkConfig, TrainConfig, validate
from charnn.devices import Arithmetic
from charnn.model import LanguageModel
from charnn.samplers import SAMPLERS
from charnn.training import Training

CPU = Arithmetic(torch.device("cpu"), "float32")


def new_training(
    settings: Mapping[str, Any],
    vocab_size: int,
    tokens: npt.NDArray[np.integer],
    *,
    targets: npt.NDArray[np.integer] | None = None,
    unk_id: int | None = None,
) -> Training:
    """A training about to begin, its weights and its order of the tokens drawn from the seed.

    `settings` are fields of `TrainConfig`.
    """
    config = validate(TrainConfig, settings)
    torch.manual_seed(config.seed)
    shape = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    model = LanguageModel(ModelConfig(**shape, vocab_size=vocab_size))
    sampler = SAMPLERS[config.sampler](
        tokens, config.batch_size, config.bptt, config.seed, targets=targets
    )
    return Training(model, sampler, config, CPU, unk_id)

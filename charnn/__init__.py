"""charnn trains recurrent language models on text and samples from them.

Importing it loads nothing heavy: NumPy, torch and the rest are imported when a name is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charnn import errors
    from charnn.api import Model, load, prepare, train
    from charnn.data.prepare import Prepared
    from charnn.evaluation.metrics import Score
    from charnn.training.events import (
        Evaluation,
        Event,
        Noted,
        Result,
        Sampled,
        Saved,
        Step,
        Validating,
        Warned,
    )
    from charnn.training.training import Training

__all__ = [
    "Evaluation",
    "Event",
    "Model",
    "Noted",
    "Prepared",
    "Result",
    "Sampled",
    "Saved",
    "Score",
    "Step",
    "Training",
    "Validating",
    "Warned",
    "__version__",
    "errors",
    "load",
    "prepare",
    "train",
]

__version__ = "0.1.0"

# The module of each public name that is not one of the events.
_MODULES = {
    **dict.fromkeys(("Model", "load", "prepare", "train"), "charnn.api"),
    "Prepared": "charnn.data.prepare",
    "Score": "charnn.evaluation.metrics",
    "Training": "charnn.training.training",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("charnn.errors")
    if name in __all__:
        module = importlib.import_module(_MODULES.get(name, "charnn.training.events"))
        return getattr(module, name)
    raise AttributeError(f"module 'charnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""charnn trains recurrent language models on text and samples from them.

Importing it loads nothing heavy: NumPy and the rest arrive with the first call of `load`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charnn.api import Model, load

__all__ = ["Model", "__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Model", "load"):
        from charnn import api

        return getattr(api, name)
    raise AttributeError(f"module 'charnn' has no attribute {name!r}")

"""Choose the device; set up threads and determinism; explain out-of-memory errors."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from charnn.errors import CharnnError, UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """A device and the data type of matrix products; weights stay float32."""

    device: torch.device
    precision: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which matrix products run in the chosen precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    @property
    def optimizer_dtype(self) -> torch.dtype:
        """Return the type for matrix products in an optimizer, which do not need float32.

        bfloat16 if the network is trained in reduced precision and the hardware multiplies it.
        """
        reduced = self.precision != "float32" and multiplies_bfloat16(self.device)
        return torch.bfloat16 if reduced else torch.float32


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" prefers CUDA, then MPS, then the CPU.

    Raise UsageError if the machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    kind, _, index = name.partition(":")
    cuda_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cuda": cuda_devices, "mps": int(_has_mps()), "cpu": 1}
    if int(index or 0) >= counts.get(kind, 0):
        raise UsageError(f"--device {name}: no such device on this machine", "use --device cpu")
    if kind == "cuda" and index:
        torch.cuda.set_device(int(index))  # otherwise CUDA also allocates memory on device 0
    return torch.device(name)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def configure(threads: int | None, *, deterministic: bool) -> None:
    """Set the number of threads and determinism of torch. Call once, before the first tensor.

    Denormal numbers are flushed to zero: decaying hidden states reach them, and some CPUs compute
    with them a hundred times slower.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    # cuDNN copies weights that were cast or dropped into one buffer; that costs little.
    warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
    if deterministic:
        # cuBLAS reads this variable when its first handle is created.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def memory_explained(when: str, hint: str) -> Iterator[None]:
    """Convert an out-of-memory error in the block to a CharnnError that says `when`."""
    try:
        yield
    except RuntimeError as error:
        on_cpu = "can't allocate memory" in str(error)  # on a CPU it is a plain RuntimeError
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise CharnnError(f"out of memory {when}", hint) from error


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware of a device multiplies bfloat16, rather than emulating it.

    True on a CPU, where only a benchmark tells.
    """
    if device.type != "cuda":
        return device.type == "cpu"
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

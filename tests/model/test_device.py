"""Devices: names, missing devices, precision of products in an optimizer, memory."""

import pytest
import torch

from charnn.errors import CharnnError, UsageError
from charnn.model import device
from charnn.model.device import Arithmetic

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_a_usage_error() -> None:
    """The hint is --device cpu."""
    with pytest.raises(UsageError, match="no such device") as caught:
        device.choose_device("cuda")

    assert caught.value.hint == "use --device cpu"


@pytest.mark.parametrize(
    ("precision", "in_hardware", "expected"),
    [
        ("float32", True, torch.float32),
        ("bfloat16", True, torch.bfloat16),
        ("float16", True, torch.bfloat16),
        ("float16", False, torch.float32),
    ],
)
def test_optimizer_multiplies_in_bfloat16_only_in_hardware(
    monkeypatch, precision, in_hardware, expected
) -> None:
    """And only if the network is trained in reduced precision."""
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda _: in_hardware)

    assert Arithmetic(CPU, precision).optimizer_dtype == expected


def test_out_of_memory_says_when_and_what_helps() -> None:
    """Errors of the GPU and of the CPU; other errors pass through."""
    for error in (torch.OutOfMemoryError("CUDA"), RuntimeError("x: can't allocate memory: y")):
        explained = device.memory_explained("in a test", "use less")
        with pytest.raises(CharnnError, match="out of memory in a test") as caught, explained:
            raise error
        assert caught.value.hint == "use less"
    with pytest.raises(RuntimeError, match="other"), device.memory_explained("", ""):
        raise RuntimeError("other")

"""Which number format this processor multiplies matrices fastest in: measured, not guessed.

Processors with bf16 units (AMX, AVX-512 BF16, recent ARM) run the output projection several
times faster in bf16; others emulate it, several times slower. Flags do not tell how fast the
installed torch is, so a product of the shape that encoding runs is timed in both, once a process
(some 100 ms). bf16 must win clearly, so that noise cannot change the choice between two runs.
"""

from __future__ import annotations

import functools
import logging
import time

import torch

from lsr.core.errors import ArgumentError

__all__ = ["DTYPES", "choose_device", "choose_dtype", "measure_dtypes"]

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MARGIN = 1.4
_TOKENS, _WIDTH, _TERMS = 128, 256, 4096


def choose_device(device: str | None) -> torch.device:
    """Return the named device, or CUDA where there is one, else the CPU.

    Raises
    ------
    ArgumentError
        If there is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"device {device!r} cannot be used here: {reason}", hint="Try 'cpu'."
        ) from error
    return chosen


def choose_dtype(device: torch.device, dtype: str | None = None) -> torch.dtype:
    """Return the named format, or the fastest of those that keep float32's range.

    Raises
    ------
    ArgumentError
        If the name is unknown.
    """
    if dtype is not None:
        if dtype not in DTYPES:
            raise ArgumentError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
        return DTYPES[dtype]
    return _fastest(device.type)


@functools.cache
def _fastest(device: str) -> torch.dtype:
    seconds = measure_dtypes(device)
    bf16_wins = seconds["float32"] > _MARGIN * seconds["bfloat16"]
    chosen = torch.bfloat16 if bf16_wins else torch.float32
    logger.info(
        "Matrix products on %s: float32 %.1f ms, bfloat16 %.1f ms; using %s",
        device, 1e3 * seconds["float32"], 1e3 * seconds["bfloat16"], str(chosen)[6:],
    )  # fmt: skip
    return chosen


def measure_dtypes(device: str) -> dict[str, float]:
    """Return the seconds of one block of an output projection in float32 and bfloat16.

    The best of four; emulated bf16 is given up after its first block, which alone takes longer
    than all others together.
    """
    best: dict[str, float] = {}
    for name in ("float32", "bfloat16"):
        left = torch.randn(_TOKENS, _WIDTH, device=device).to(DTYPES[name])
        right = torch.randn(_TERMS, _WIDTH, device=device).to(DTYPES[name])
        with torch.inference_mode():
            for _ in range(4):
                _wait(device)
                begun = time.perf_counter()
                torch.mm(left, right.T)
                _wait(device)
                seconds = time.perf_counter() - begun
                best[name] = min(seconds, best.get(name, seconds))
                if name == "bfloat16" and seconds > 8 * best["float32"]:
                    break
    return best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()

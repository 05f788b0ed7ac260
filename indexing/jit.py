"""The compiler's settings, in one place: `jit` for kernels, and three LLVM intrinsics.

Every kernel releases the GIL (threads share the queries of a batch) and is cached on disk. Python
and numpy cannot say "prefetch this line" or "read these bits as a half float"; the intrinsics do.
Interpreted (``NUMBA_DISABLE_JIT=1``) they are plain functions with the same results.

A cached kernel does not notice an edit here: remove the ``__pycache__`` folders after one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import config
from numpy.typing import NDArray

__all__ = ["COMPILED", "half_bits", "half_to_float", "jit", "prefetch", "read_only"]

_numba_settings: Any = config

COMPILED: bool = not _numba_settings.DISABLE_JIT
"""False where ``NUMBA_DISABLE_JIT`` makes kernels run interpreted."""

ArrayT = TypeVar("ArrayT", bound=NDArray[Any])


def _ensure_cache_folder() -> None:
    """Give numba a cache folder where neither the package nor the home can be written.

    Without one numba fails when a kernel is defined ("no locator available").
    """
    if _numba_settings.CACHE_DIR:
        return
    for folder in (Path(__file__).parent, Path.home()):
        if os.access(folder, os.W_OK):
            return
    user = getattr(os, "getuid", lambda: "user")()
    _numba_settings.CACHE_DIR = str(Path(tempfile.gettempdir()) / f"lsr-numba-{user}")


_ensure_cache_folder()


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel on first use: cached, without the GIL, without fast-math."""
    return numba.njit(cache=True, nogil=True)(function)


def read_only(array: ArrayT) -> ArrayT:
    """Return a C-contiguous read-only view (a copy if need be).

    Memory-mapped arrays are read-only, and numba compiles read-only and writable ones apart:
    giving every input this flavour keeps one compilation a kernel.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return cast(ArrayT, view)


def half_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the bits of `values` rounded to half floats, as `half_to_float` reads them."""
    return np.ascontiguousarray(values, dtype=np.float16).view(np.uint16)


def _compiled_intrinsics() -> tuple[Any, Any]:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
        signature = types.void(array, types.uintp)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            item = context.make_array(signature.args[0])(context, builder, args[0])
            pointer = builder.gep(item.data, [args[1]])
            byte_pointer = ir.IntType(8).as_pointer()
            flag = ir.IntType(32)
            call = builder.module.declare_intrinsic(
                "llvm.prefetch",
                [byte_pointer],
                ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag]),
            )
            # Read, highest locality, data cache.
            flags = [ir.Constant(flag, n) for n in (0, 3, 1)]
            builder.call(call, [builder.bitcast(pointer, byte_pointer), *flags])
            return context.get_dummy_value()

        return signature, generate

    def half_to_float(typing_context: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            # One instruction where the processor has F16C.
            return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

        return types.float32(types.uint16), generate

    return intrinsic(prefetch), intrinsic(half_to_float)


def _interpreted_intrinsics() -> tuple[Any, Any]:
    def prefetch(array: Any, index: Any) -> None:
        return None

    def half_to_float(bits: Any) -> Any:
        return np.float32(np.uint16(bits).view(np.float16))

    return prefetch, half_to_float


prefetch, half_to_float = _compiled_intrinsics() if COMPILED else _interpreted_intrinsics()
# prefetch(array, index): ask for the cache line of array[index]; never faults, has no result.
# half_to_float(bits): the float32 of a half float's bits (uint16).

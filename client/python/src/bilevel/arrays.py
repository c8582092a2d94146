"""NumPy arrays in and out of bilevel.v1.Array: raw little-endian bytes, no loop over elements."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from bilevel import v1

FloatArray = npt.NDArray[np.float64]

_DTYPES: dict[str, int] = {
    "f8": v1.DTYPE_F64,
    "f4": v1.DTYPE_F32,
    "u4": v1.DTYPE_U32,
    "u8": v1.DTYPE_U64,
    "u1": v1.DTYPE_U8,
}
_NUMPY = {number: np.dtype("<" + code) for code, number in _DTYPES.items()}


def to_array(values: npt.ArrayLike, dtype: str = "f8") -> Any:
    """A bilevel.v1.Array of the given element type (f8, f4, u4, u8, u1), with the shape of `values`.

    float32 arrays stay float32 where a real type is asked for: the server then knows that they were rounded.
    """
    array = np.asarray(values)
    code = "f4" if dtype == "f8" and array.dtype == np.float32 else dtype
    array = np.ascontiguousarray(array, dtype="<" + code)
    return v1.Array(dtype=_DTYPES[code], shape=array.shape, raw=array.tobytes())


def from_array(message: Any, shape: Optional[Sequence[int]] = None) -> npt.NDArray[Any]:
    """The elements as a NumPy array of the message's shape, else of `shape`, else one-dimensional.

    Raw data are not copied, so the array is read-only then.
    """
    kind = message.WhichOneof("data")
    if kind == "raw":
        if message.dtype not in _NUMPY:
            raise ValueError("raw elements need one of the dtypes F64, F32, U32, U64, U8")
        array = np.frombuffer(message.raw, dtype=_NUMPY[message.dtype])
    elif kind == "indices":
        array = np.array(message.indices.list, dtype=np.uint32)
    else:
        array = np.array(message.values.list, dtype=np.float64)
    extents = tuple(message.shape) or (tuple(shape) if shape is not None else ())
    if extents and array.size != math.prod(extents):
        raise ValueError(f"an array has {array.size} elements; its shape {extents} needs {math.prod(extents)}")
    return array.reshape(extents) if extents else array


def make_readable(message: Any) -> None:
    """Turns raw bytes anywhere in a message into lists of numbers, as people write them."""
    if message.DESCRIPTOR.full_name == "bilevel.v1.Array":
        if message.WhichOneof("data") != "raw":
            return
        array = from_array(message).ravel()
        if message.dtype in (v1.DTYPE_F64, v1.DTYPE_F32):
            message.values.SetInParent()
            message.values.list.extend(array.tolist())
        elif array.size != 0 and int(array.max()) >= 2**32:
            return  # no readable form: stays raw
        else:
            message.indices.SetInParent()
            message.indices.list.extend(array.tolist())
        if message.dtype != v1.DTYPE_F32:
            message.dtype = v1.DTYPE_UNSPECIFIED
        return
    for field, value in message.ListFields():
        if field.cpp_type != field.CPPTYPE_MESSAGE:
            continue
        for part in [value] if hasattr(value, "DESCRIPTOR") else value:
            make_readable(part)

"""Transitions as columns: what a Writer holds, and the batches that it sends."""

from __future__ import annotations

import operator
from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from bilevel import v1

KINDS = {"running": 0, "terminated": 1, "truncated": 2}

# Of TransitionBatch, by the name that users give them.
_WIRE = {"episode": "episode_id", "kind": "step_kind"}
_INTEGERS = {"episode": "<u8", "state": "<u4", "action": "<u4", "next_state": "<u4", "kind": "|u1", "context": "<u4"}
_OPTIONAL_INTEGERS = {"parameters_version": "<u8"}
_REALS = ("leader_reward", "behavior_log_probability")
_FEATURES = ("features", "next_features")
_DTYPES = {
    "<u8": v1.DTYPE_U64,
    "<u4": v1.DTYPE_U32,
    "|u1": v1.DTYPE_U8,
    "<f8": v1.DTYPE_F64,
}
# Those that stand for zeros where they are absent.
_ZEROS = ("episode", "kind", "context")
_OPTIONAL = (*_REALS, *_OPTIONAL_INTEGERS, *_FEATURES)
NAMES = (*_INTEGERS, *_OPTIONAL)

_MOST = {dtype: int(np.iinfo(dtype).max) for dtype in ("<u8", "<u4", "|u1")}

Columns = Mapping[str, npt.NDArray[Any]]


def whole(name: str, value: Any, dtype: str) -> int:
    """The number, or the error that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; must be a whole number") from None
    most = _MOST[dtype]
    if not 0 <= number <= most:
        raise ValueError(f"{name} is {number}; must be in [0, {most}]")
    return number


def kind_number(kind: Any) -> int:
    """0 running, 1 terminated, 2 truncated; by name or number."""
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; must be running, terminated or truncated")
        return KINDS[kind]
    return whole("kind", kind, "|u1")


def _check_integers(name: str, values: npt.NDArray[Any], dtype: str) -> None:
    if values.size == 0 or values.dtype.kind == "b":
        return
    if values.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {values.dtype}; must be whole numbers")
    most = _MOST[dtype]
    smallest = int(values.min()) if values.dtype.kind == "i" else 0
    largest = int(values.max()) if values.dtype.itemsize >= np.dtype(dtype).itemsize else 0
    if smallest < 0 or largest > most:
        raise ValueError(f"{name} has {smallest if smallest < 0 else largest}; must be in [0, {most}]")


def checked(given: Mapping[str, Any]) -> Tuple[int, dict[str, npt.NDArray[Any]]]:
    """The number of transitions, and their columns as they were given, those of the right length and type.

    Numbers stand for columns of equal entries. Absent columns are None.
    """
    arrays = {name: np.asarray(values) for name, values in given.items() if values is not None}
    count: Optional[int] = None
    for name, values in arrays.items():
        if values.ndim == (2 if name in _FEATURES else 1):
            if count is not None and values.shape[0] != count:
                raise ValueError(f"{name} has {values.shape[0]} entries; other columns have {count}")
            count = values.shape[0]
        elif values.ndim != 0 or name in _FEATURES:
            shape = "[k, m]" if name in _FEATURES else "[k], or a number"
            raise ValueError(f"{name} has shape {values.shape}; must be {shape}")
    if count is None:
        raise ValueError("all columns are numbers; at least one must be [k]")
    for name, values in arrays.items():
        if name == "kind" and values.dtype.kind == "U":
            values = np.asarray(kind_number(str(values[()]))) if values.ndim == 0 else _kinds(values)
        if name in _INTEGERS or name in _OPTIONAL_INTEGERS:
            _check_integers(name, values, dtype_of(name))
        elif values.dtype.kind not in "fiub":
            raise TypeError(f"{name} has dtype {values.dtype}; must be numbers")
        arrays[name] = values if name in _FEATURES else np.broadcast_to(values, (count,))
    return count, arrays


def _kinds(names: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    numbers = np.full(names.shape, 255, dtype=np.uint8)
    for name, number in KINDS.items():
        numbers[names == name] = number
    if (numbers == 255).any():
        kind_number(str(names[numbers == 255][0]))
    return numbers


def dtype_of(name: str) -> str:
    return _INTEGERS.get(name) or _OPTIONAL_INTEGERS.get(name) or "<f8"


def copied(arrays: Columns, begin: int, end: int) -> dict[str, npt.NDArray[Any]]:
    """Rows of checked columns as they are sent."""
    return {name: np.array(values[begin:end], dtype=dtype_of(name), order="C") for name, values in arrays.items()}


# The fields of NAMES; None where absent.
Row = Tuple[Any, ...]


def row_layout(row: Row) -> Tuple[Any, ...]:
    """Which optional columns it has, and how wide."""
    reward, probability, version, features, next_features = row[len(_INTEGERS) :]
    return (
        reward is None,
        probability is None,
        version is None,
        None if features is None else len(features),
        None if next_features is None else len(next_features),
    )


def from_rows(rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
    """The columns of rows of one layout."""
    return {
        name: np.array(values, dtype=dtype_of(name)) for name, values in zip(NAMES, zip(*rows)) if values[0] is not None
    }


class Chunk(NamedTuple):
    """Transitions with numbers in a row and the same columns."""

    first: int
    size: int
    born: float  # when the first of them came
    columns: Columns

    @property
    def last(self) -> int:
        return self.first + self.size - 1

    def layout(self) -> Tuple[Any, ...]:
        return tuple(self.columns[name].shape[1:] if name in self.columns else None for name in _OPTIONAL)

    def part(self, first: int, last: int) -> "Chunk":
        begin, end = first - self.first, last - self.first + 1
        columns = {name: values[begin:end] for name, values in self.columns.items()}
        return Chunk(first, end - begin, self.born, columns)

    def row(self, sequence: int) -> dict[str, Any]:
        return {name: values[sequence - self.first].tolist() for name, values in self.columns.items()}

    def row_bytes(self) -> int:
        return sum(values.itemsize * values[:1].size for values in self.columns.values())


def joined(chunks: Sequence[Chunk]) -> Columns:
    """The columns of chunks of one layout."""
    if len(chunks) == 1:
        return chunks[0].columns
    return {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in chunks[0].columns}


def to_batch(first: int, columns: Columns) -> Any:
    """A TransitionBatch."""
    batch = v1.TransitionBatch(first_sequence=first, count=len(columns["state"]))
    for name, values in columns.items():
        if name in _ZEROS and not values.any():
            continue
        array = getattr(batch, _WIRE.get(name, name))
        array.dtype = _DTYPES[dtype_of(name)]
        if values.ndim == 2:
            array.shape.extend(values.shape)
        array.raw = values.tobytes()
    return batch

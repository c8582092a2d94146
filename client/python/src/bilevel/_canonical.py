"""The canonical bytes of an environment, by which it is uploaded and named (environment_service.proto)."""

from __future__ import annotations

import struct
from typing import Any, Iterator, List, Tuple

import numpy as np

from bilevel.mdp import Csr, Mdp

_TERMINATION, _INITIAL, _AVAILABLE, _BINARY32 = 1, 2, 4, 8
_ALIGNMENT = 8


class CanonicalBytes:
    """Arrays that are not copied where they have the layout's types already; pieces are put together when asked for."""

    def __init__(self, mdp: Mdp) -> None:
        rows = _rows(mdp)
        states, pair = mdp.num_states, (mdp.num_states, mdp.num_actions)
        count = mdp.num_states * mdp.num_actions
        if tuple(rows.shape) != (count, states):
            rule = f"must be [S*A, S] = {[count, states]} with num_actions = {mdp.num_actions}"
            raise ValueError(f"transitions have shape {list(rows.shape)}; {rule}")
        flags = 0
        sections = [_little(rows.offsets, "u8", "transitions.offsets", count + 1)]
        if mdp.termination_probability is not None and np.any(mdp.termination_probability):
            flags |= _TERMINATION
            sections.append(_little(mdp.termination_probability, "f8", "termination_probability", *pair))
        if mdp.initial_distribution is not None:
            flags |= _INITIAL
            sections.append(_little(mdp.initial_distribution, "f8", "initial_distribution", states))
        if mdp.available_actions is not None and not np.all(mdp.available_actions):
            flags |= _AVAILABLE
            mask = np.asarray(mdp.available_actions, dtype=bool)
            sections.append(_little(mask, "u1", "available_actions", *pair))
        values = np.asarray(rows.values)
        single = values.dtype == np.float32
        flags |= _BINARY32 if single else 0
        sections.append(_little(rows.columns, "u4", "transitions.columns", values.size))
        sections.append(_little(values, "f4" if single else "f8", "transitions.values", values.size))

        header = b"BILEVEL1" + struct.pack("<IIIIQ", flags, mdp.num_states, mdp.num_actions, 0, values.size)
        self._sections: List[Tuple[int, memoryview]] = [(0, memoryview(header))]
        self.size = len(header)
        for section in sections:
            self.size += -self.size % _ALIGNMENT
            self._sections.append((self.size, section))
            self.size += len(section)

    def pieces(self, offset: int, limit: int) -> Iterator[bytes]:
        """The bytes from `offset` on, at most `limit` at a time."""
        while offset < self.size:
            piece = self._read(offset, min(limit, self.size - offset))
            offset += len(piece)
            yield piece

    def _read(self, offset: int, count: int) -> bytes:
        piece = bytearray(count)
        for begin, section in self._sections:
            first, last = max(offset, begin), min(offset + count, begin + len(section))
            if first < last:
                piece[first - offset : last - offset] = section[first - begin : last - begin]
        return bytes(piece)


def _rows(mdp: Mdp) -> Csr:
    """Dense transitions keep every entry, zeros too: what a problem says of stored transitions still fits."""
    if mdp.transitions is None:
        raise ValueError("the Mdp has no transitions to upload")
    if isinstance(mdp.transitions, Csr):
        return mdp.transitions
    states, rows = mdp.num_states, mdp.num_states * mdp.num_actions
    values = np.asarray(mdp.transitions).reshape(-1)
    offsets = np.arange(rows + 1, dtype=np.uint64) * np.uint64(states)
    return Csr(offsets, np.tile(np.arange(states, dtype=np.uint32), rows), values, (rows, states))


def _little(values: Any, code: str, name: str, *shape: int) -> memoryview:
    array = np.ascontiguousarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {list(array.shape)}; must be {list(shape)}")
    if code in ("u8", "u4") and array.size:
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} has elements of type {array.dtype}; must be whole numbers")
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= 1 << (8 * int(code[1])):
            raise ValueError(f"{name} has {low if low < 0 else high}; must be in [0, 2^{8 * int(code[1])})")
    return memoryview(array.astype("<" + code, copy=False).reshape(-1).view(np.uint8)).cast("B")

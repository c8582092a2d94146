"""What a Writer holds: transitions in order, from the first that may have to be sent again."""

from __future__ import annotations

import bisect
import itertools
import time
from typing import Any, List

from bilevel import _columns
from bilevel._columns import Chunk, Columns, Row

MAX_BATCH = 8192
# Far below the 4 MiB that a message may have.
_MAX_BATCH_BYTES = 1 << 20


class Buffer:
    """Transitions kept + 1 ... last. Rows that came one by one become chunks of columns when they are sent, or many.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self.kept = 0  # the last that is no longer held
        self.last = 0
        self._chunks: List[Chunk] = []
        self._firsts: List[int] = []  # of each chunk
        self._rows: List[Row] = []  # after the chunks
        self._layout: Any = None  # of the rows
        self._born = 0.0  # of the first row

    def __len__(self) -> int:
        return self.last - self.kept

    def begin_after(self, sequence: int) -> None:
        """Nothing is held, and the next transition has number sequence + 1."""
        self.kept = self.last = sequence

    def append(self, row: Row) -> int:
        """Takes one; returns how many rows there are."""
        layout = _columns.row_layout(row)
        if self._rows and layout != self._layout:
            self._seal()
        if not self._rows:
            self._layout = layout
            self._born = time.monotonic()
        self._rows.append(row)
        self.last += 1
        count = len(self._rows)
        if count >= MAX_BATCH:
            self._seal()
        return count

    def extend(self, columns: Columns, size: int) -> None:
        """Takes `size` transitions."""
        self._seal()
        self._put(Chunk(self.last + 1, size, time.monotonic(), columns))
        self.last += size

    def born(self, sequence: int) -> float:
        """When a transition came, or one shortly before it."""
        at = bisect.bisect_right(self._firsts, sequence) - 1
        return self._chunks[at].born if at >= 0 and sequence <= self._chunks[at].last else self._born

    def batch(self, first: int, until: int) -> Columns:
        """The columns of transitions first, first + 1, ... up to `until` at most, and as one batch may hold."""
        if until > self.last - len(self._rows):
            self._seal()
        at = bisect.bisect_right(self._firsts, first) - 1
        layout = self._chunks[at].layout()
        most = min(MAX_BATCH, max(1, _MAX_BATCH_BYTES // self._chunks[at].row_bytes()))
        until = min(until, first + most - 1)
        parts: List[Chunk] = []
        while first <= until and self._chunks[at].layout() == layout:
            parts.append(self._chunks[at].part(first, min(until, self._chunks[at].last)))
            first = parts[-1].last + 1
            at += 1
        return _columns.joined(parts)

    def row(self, sequence: int) -> dict[str, Any]:
        """One transition by column; empty when it is not held."""
        self._seal()
        at = bisect.bisect_right(self._firsts, sequence) - 1
        return self._chunks[at].row(sequence) if at >= 0 and sequence <= self._chunks[at].last else {}

    def drop(self, until: int) -> None:
        """Those up to `until` need not be held any more."""
        done = 0
        while done < len(self._chunks) and self._chunks[done].last <= until:
            done += 1
        del self._chunks[:done], self._firsts[:done]
        self.kept = max(self.kept, min(until, self.last))

    def take_from(self, first: int) -> List[Columns]:
        """Takes out transitions first ... last; those of one layout together."""
        self._seal()
        taken: List[Chunk] = []
        while self._chunks and self._chunks[-1].last >= first:
            chunk = self._chunks.pop()
            self._firsts.pop()
            taken.insert(0, chunk.part(max(first, chunk.first), chunk.last))
            if chunk.first < first:
                self._put(chunk.part(chunk.first, first - 1))
        self.last = first - 1
        return [_columns.joined(list(chunks)) for _, chunks in itertools.groupby(taken, Chunk.layout)]

    def _put(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._firsts.append(chunk.first)

    def _seal(self) -> None:
        """Turns rows into a chunk."""
        if self._rows:
            rows, self._rows = self._rows, []
            self._put(Chunk(self.last - len(rows) + 1, len(rows), self._born, _columns.from_rows(rows)))

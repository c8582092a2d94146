"""The steps of a session's outer loop as they are taken: `session.steps()`."""

from __future__ import annotations

import random
import threading
import time
from typing import Any, Callable, Optional

import grpc

from bilevel import v1
from bilevel._link import _FIRST_DELAY, _MAX_DELAY, _is_broken
from bilevel.errors import BilevelError, Cancelled, Unavailable, from_rpc_error
from bilevel.outer_loop import OuterLoopStatus, OuterStep

# A stream that lasted so long had a server: without one it fails sooner, and it may be silent between two steps.
_HELD = 30.0


class Steps:
    """An iterator over OuterStep that ends when the loop has stopped; `stopped` then says why.

    Waits for steps that are still to be taken. Of many the server keeps the newest, at least 16: numbers tell what is
    missing. After a broken connection it goes on with the step that follows the last one; it raises when the server is
    gone for `patience` seconds in a row. timeout: seconds from now until the iteration raises DeadlineExceeded; by
    default it waits for ever. NotFound without such a session, FailedPrecondition when it has no outer loop, Aborted when
    it is deleted.

    Leaving a `with` block, or dropping it, ends the stream. For one thread at a time, but for cancel().
    """

    def __init__(
        self,
        start: Callable[..., Any],
        session: str,
        after: int = 0,
        until: Optional[int] = None,
        *,
        timeout: Optional[float] = None,
        patience: float = 60.0,
    ) -> None:
        self._call: Any = None
        self._cancelled = threading.Event()
        self._start = start
        self._session = session
        self._last = after
        self._until = until
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._patience = patience
        self._stopped: Optional[OuterLoopStatus] = None
        self._opened = 0.0  # when the stream was
        self._trouble: Optional[float] = None  # when the first of a row of connections broke
        self._attempt = 0  # connections in that row

    @property
    def last(self) -> int:
        """Number of the last step that came; before the first, `after`."""
        return self._last

    @property
    def stopped(self) -> Optional[OuterLoopStatus]:
        """Where and why the loop has stopped; None while the iteration goes on, or when it ended by `until`."""
        return self._stopped

    def __iter__(self) -> "Steps":
        return self

    def __next__(self) -> OuterStep:
        while self._stopped is None and (self._until is None or self._last < self._until):
            message = self._read()
            if message is None:
                continue
            if message.WhichOneof("message") == "stopped":
                self._stopped = OuterLoopStatus.from_proto(message.stopped)
            elif message.WhichOneof("message") == "step":
                self._last = int(message.step.number)
                if self._until is None or self._last <= self._until:
                    return OuterStep.from_proto(message.step)
        if self._call is not None:
            self._call.cancel()
        raise StopIteration(self._stopped)

    def cancel(self) -> None:
        """Ends the stream; iterating then raises Cancelled. From any thread."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: Any) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    def _read(self) -> Any:
        """The next message; None when the connection broke and another is worth a try."""
        call = self._open() if self._call is None else self._call
        try:
            message = next(call)
        except StopIteration:
            error: BilevelError = Unavailable("the stream ended before the loop did", grpc.StatusCode.UNAVAILABLE)
        except grpc.RpcError as broken:
            error = from_rpc_error(broken)
        else:
            self._trouble, self._attempt = None, 0
            return message
        self._call = None
        self._pause(error)
        return None

    def _open(self) -> Any:
        self._check()
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            call = self._start(v1.WatchStepsRequest(name=self._session, after_number=self._last), timeout=left)
        except ValueError as error:  # the channel is closed
            raise Cancelled(str(error), grpc.StatusCode.CANCELLED) from None
        self._opened = time.monotonic()
        self._call = call
        if self._cancelled.is_set():
            call.cancel()
        return call

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the iteration was cancelled", grpc.StatusCode.CANCELLED)

    def _pause(self, error: BilevelError) -> None:
        """Waits before the next connection; raises where that would be of no use."""
        self._check()
        now = time.monotonic()
        if not _is_broken(error) or (self._deadline is not None and now >= self._deadline):
            raise error
        if self._trouble is None or now - self._opened > _HELD:
            self._trouble, self._attempt = now, 0
        delay = min(_MAX_DELAY, _FIRST_DELAY * 2**self._attempt) * random.uniform(0.5, 1.0)
        if error.retry_delay is not None:
            delay = error.retry_delay * random.uniform(1.0, 1.2)
        self._attempt = min(self._attempt + 1, 20)
        if now + delay > self._trouble + self._patience:
            self._trouble = None
            raise error
        if self._deadline is not None:
            delay = min(delay, self._deadline - now)
        self._cancelled.wait(delay)

"""A stream to a session that outlives its connections: opened again after any break, by one thread in the background."""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from typing import Any, Callable, Iterator, Optional

import grpc

from bilevel.errors import BilevelError, Cancelled, DeadlineExceeded, from_rpc_error

logger = logging.getLogger("bilevel")

_FIRST_DELAY = 0.05
_MAX_DELAY = 5.0
# A connection that held so long was a good one: the next delay is the first again.
_GOOD = 10.0
_JOIN = 10.0


def _is_broken(error: BilevelError) -> bool:
    """Whether the connection failed and not the call: opening again is then of use."""
    if error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
        return True
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_delay is not None
    # How gRPC tells of resets by what stands between the two ends.
    text = str(error)
    return error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and (
        "RST_STREAM" in text or "Stream removed" in text or "GOAWAY" in text
    )


def _same(request: Any) -> Any:
    return request


class Connection:
    """One stream of a link."""

    def __init__(self) -> None:
        self.opened = False
        self.ended = False
        self.finish_sent = False
        # Set by Draining: no more is sent, and the next connection waits so long.
        self.retry_delay: Optional[float] = None


class Link:
    """The common part of Writer and Actor.

    Everything below is guarded by `_changed`. The thread opens a stream, reads it to its end and, unless the link is
    closed or the error is final, opens the next after a while: exponential backoff with jitter. gRPC pulls requests
    from _requests in a thread of its own for each stream, which ends with the stream.
    """

    def __init__(self, name: str, start: Callable[[Iterator[Any]], Any], timeout: float) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout}; must be > 0")
        self._start = start
        self._timeout = timeout
        self._changed = threading.Condition(threading.Lock())
        self._call: Any = None
        self._failure: Optional[BilevelError] = None  # final
        self._trouble: Optional[BilevelError] = None  # of the last connection
        self._opened = False  # once at least
        self._closing = False
        self._finishing = False
        self._finished = False
        self._progress = 0  # grows with what the server takes
        self._attempt = 0  # connections in a row that brought nothing
        self._thread = threading.Thread(target=self._run, name=f"bilevel {name}", daemon=True)

    # What the two differ in; under the lock.

    def _opening(self) -> Any:
        raise NotImplementedError

    def _next(self, connection: Connection) -> Optional[Callable[[], Any]]:
        """What makes the next request, outside of the lock. None: nothing to send now."""
        raise NotImplementedError

    def _wait(self) -> Optional[float]:
        """Seconds until _next may know more without being told; None: for ever."""
        return None

    def _finish_request(self) -> Any:
        """None until everything before it is taken."""
        raise NotImplementedError

    def _receive(self, connection: Connection, message: Any) -> bool:
        """Whether the connection is to go on."""
        raise NotImplementedError

    def _notify(self) -> None:
        """Callbacks; not under the lock."""

    # The thread.

    def _run(self) -> None:
        while True:
            connection = Connection()
            began, progress = time.monotonic(), self._progress
            error = self._converse(connection)
            with self._changed:
                self._trouble = error
                if error is not None and not _is_broken(error):
                    self._failure = self._failure or error
                if error is None and connection.finish_sent and not self._failure:
                    self._finished = True
                if self._closing or self._failure or self._finished:
                    self._changed.notify_all()
                    return
                if self._progress > progress or time.monotonic() - began > _GOOD:
                    self._attempt = 0
                delay = min(_MAX_DELAY, _FIRST_DELAY * 2**self._attempt) * random.uniform(0.5, 1.0)
                told = connection.retry_delay if error is None or error.retry_delay is None else error.retry_delay
                if told is not None:
                    delay = told * random.uniform(1.0, 1.2)
                elif error is None and connection.opened:
                    delay = 0.0 if self._progress > progress else delay
                self._attempt = min(self._attempt + 1, 20)
                self._changed.wait_for(lambda: self._closing, delay)
                if self._closing:
                    return

    def _converse(self, connection: Connection) -> Optional[BilevelError]:
        try:
            call = self._start(self._requests(connection))
        except ValueError as error:  # the channel is closed
            connection.ended = True
            self._fail(Cancelled(str(error), grpc.StatusCode.CANCELLED))
            return None
        with self._changed:
            self._call = call
            if self._closing:
                call.cancel()
        try:
            for message in call:
                with self._changed:
                    goes_on = self._receive(connection, message)
                    self._changed.notify_all()
                self._notify()
                if not goes_on:
                    return None
            return None
        except grpc.RpcError as error:
            return from_rpc_error(error)
        except BilevelError as error:  # of _receive
            self._fail(error)
            return None
        except Exception as error:  # a bug of ours, or a server that speaks another language
            logger.exception("a stream of bilevel failed")
            self._fail(BilevelError(f"the answer makes no sense: {error!r}", grpc.StatusCode.INTERNAL))
            return None
        finally:
            with self._changed:
                connection.ended = True
                self._call = None
                self._changed.notify_all()
            call.cancel()

    def _fail(self, error: BilevelError) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _requests(self, connection: Connection) -> Iterator[Any]:
        with self._changed:
            opening = self._opening()
        yield opening
        while True:
            with self._changed:
                make: Optional[Callable[[], Any]] = None
                while make is None:
                    if connection.ended or self._closing or self._failure or connection.finish_sent:
                        return
                    if connection.retry_delay is not None:
                        return
                    if connection.opened:
                        make = self._next(connection)
                        if make is None and self._finishing:
                            finish = self._finish_request()
                            if finish is not None:
                                connection.finish_sent = True
                                make = functools.partial(_same, finish)
                    if make is None:
                        self._changed.wait(self._wait() if connection.opened else None)
            yield make()

    # For callers.

    def _check(self) -> None:
        """Raises what ended the link; under the lock."""
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise Cancelled(f"this {type(self).__name__} is closed", grpc.StatusCode.CANCELLED)

    def _await(self, done: Callable[[], bool], timeout: Optional[float], what: Callable[[], str]) -> None:
        """Waits; under the lock. Raises what _check does, and DeadlineExceeded.

        Without a timeout: as long as the server goes on taking something.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        progress = self._progress
        while not done():
            self._check()
            if timeout is None and self._progress != progress:
                progress = self._progress
                deadline = time.monotonic() + self._timeout
            left = deadline - time.monotonic()
            if left <= 0:
                trouble = f" (the connection: {self._trouble})" if self._trouble is not None else ""
                raise DeadlineExceeded(f"{what()}{trouble}", grpc.StatusCode.DEADLINE_EXCEEDED)
            self._changed.wait(left)

    def _open(self) -> None:
        """Starts the thread, and waits until the server has answered."""
        self._thread.start()
        try:
            with self._changed:
                self._await(lambda: self._opened, None, lambda: "the server did not answer")
        except DeadlineExceeded as error:
            self.close()
            raise (self._trouble or error) from None
        except BaseException:
            self.close()
            raise

    def finish(self, timeout: Optional[float] = None) -> None:
        """Says that no more will come from this writer, in this stream or another, and closes.

        Others need not wait for its turn any more. Waits until everything is taken first.
        """
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
            try:
                self._await(lambda: self._finished, timeout, lambda: "the server did not take the end")
            except BaseException:
                self._finishing = False
                raise
        self.close()

    def close(self) -> None:
        """Ends the stream at once. What was not taken is lost here; the next stream says how far this one came."""
        with self._changed:
            self._closing = True
            call = self._call
            self._changed.notify_all()
        if call is not None:
            call.cancel()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(_JOIN)

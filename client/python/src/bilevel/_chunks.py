"""Calls of the solver whose request or answer is larger than one message: serialised, cut, and put together again."""

from __future__ import annotations

import random
import time
from typing import Any, Callable, Iterator, Optional

import grpc

from bilevel import v1
from bilevel.errors import BilevelError, from_rpc_error

# The largest message that a server takes, unless it was told otherwise. Told less, it refuses what is between, which
# then goes in chunks after all; told less than a chunk's MiB, it takes no chunks either.
MESSAGE_BYTES = 4 << 20
# Those that CallInChunks knows.
METHODS = ("SolveLowerLevel", "EvaluateHypergradient", "Pullback", "CheckGradient", "Optimize")
# The largest chunk that the server takes.
_CHUNK = 1 << 20
_MOST = 2**31 - 1
# As of calls in one message.
_FIRST_DELAY, _MAX_DELAY = 0.2, 5.0


def needed(error: BilevelError) -> bool:
    """Whether a call was refused because its answer, or its request, is larger than one message.

    The latter gRPC itself refuses, without a reason; the service's own refusals all have one.
    """
    nameless = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and not error.reason
    return nameless or error.reason == "RESPONSE_TOO_LARGE"


class Chunked:
    """One call of `name`; an iterator of the messages of its answer. Raises BilevelError.

    The call starts with begin(), or with the first message that is asked for. `attempts` at one that fails with
    Unavailable before its first reply.
    """

    def __init__(self, start: Callable[..., Any], name: str, request: bytes, deadline: float, attempts: int) -> None:
        if len(request) > _MOST:
            raise ValueError(f"the request has {len(request)} bytes; chunks can bring {_MOST}")
        self._start = start
        self._name = name
        self._request = request
        self._deadline = deadline  # of time.monotonic()
        self._attempts = attempts
        self._response = v1.METHODS[name].response
        self._call: Any = None
        self._cancelled = False
        self._messages = self._read()

    def __iter__(self) -> "Chunked":
        return self

    def __next__(self) -> Any:
        return next(self._messages)

    def begin(self) -> None:
        """Sends the request, in the background."""
        self._call = self._start(self._chunks(), timeout=max(0.0, self._deadline - time.monotonic()))
        if self._cancelled:
            self._call.cancel()

    def cancel(self) -> None:
        """From any thread."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _chunks(self) -> Iterator[Any]:
        view = memoryview(self._request)
        chunk = v1.CallChunk(method=self._name, total_bytes=len(view), data=bytes(view[:_CHUNK]))
        yield chunk
        for begin in range(_CHUNK, len(view), _CHUNK):
            yield v1.CallChunk(data=bytes(view[begin : begin + _CHUNK]))

    def _read(self) -> Iterator[Any]:
        first = self._open()
        try:
            chunks = iter(self._call)
            while first is not None:
                parts, size = [first.data], len(first.data)
                while size < first.total_bytes:
                    part = next(chunks, None)
                    if part is None:
                        break
                    parts.append(part.data)
                    size += len(part.data)
                if size != first.total_bytes:
                    raise BilevelError(
                        f"the chunks do not make an answer: {size} of {first.total_bytes} bytes",
                        grpc.StatusCode.DATA_LOSS,
                    )
                yield self._response.FromString(b"".join(parts))
                first = next(chunks, None)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            self._call.cancel()

    def _open(self) -> Optional[Any]:
        """Sends the request, unless that has begun; the first chunk of the answer."""
        delay = _FIRST_DELAY
        for attempt in range(1, self._attempts + 1):
            if self._call is None or attempt > 1:
                self.begin()
            try:
                first = next(self._call, None)
            except grpc.RpcError as error:
                wait = delay * random.uniform(0.5, 1.0)
                late = time.monotonic() + wait >= self._deadline
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == self._attempts or late:
                    raise from_rpc_error(error) from None
                time.sleep(wait)
                delay = min(2 * delay, _MAX_DELAY)
                continue
            if first is None:
                raise BilevelError("the server ended the call without an answer", grpc.StatusCode.DATA_LOSS)
            return first
        return None


class Events:
    """The events of an Optimize call, in chunks where its request or its result is larger than one message."""

    def __init__(self, start: Callable[..., Any], request: bytes, deadline: float, chunked: Chunked) -> None:
        self._chunked = chunked
        self._whole: Any = None
        if len(request) <= MESSAGE_BYTES:
            self._whole = start(request, timeout=max(0.0, deadline - time.monotonic()))
        else:
            chunked.begin()

    def __iter__(self) -> "Events":
        return self

    def __next__(self) -> Any:
        if self._whole is not None:
            try:
                return next(self._whole)
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
                if not needed(failure):
                    raise failure from None
            self._whole = None  # it was refused before its first event
        return next(self._chunked)

    def cancel(self) -> None:
        """From any thread."""
        if self._whole is not None:
            self._whole.cancel()
        self._chunked.cancel()

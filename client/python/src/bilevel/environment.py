"""Environments that stay on the server: uploaded once in pieces, named in problems from then on."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import random
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

import grpc

from bilevel import v1
from bilevel._canonical import CanonicalBytes
from bilevel._link import _is_broken
from bilevel.errors import BilevelError, DeadlineExceeded, NotFound, from_rpc_error
from bilevel.mdp import Mdp

if TYPE_CHECKING:
    from bilevel.client import Client

# The largest that the server takes.
_PIECE = 1 << 20
_FIRST_DELAY, _MAX_DELAY = 0.05, 5.0

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class StoredEnvironment:
    """What the server knows of an environment that was uploaded."""

    name: str  # environments/{SHA-256 in hex}
    num_states: int
    num_actions: int
    num_transitions: int
    total_bytes: int
    memory_bytes: int  # of the server's budget
    create_time: datetime.datetime
    existed: bool = False  # the upload brought what was there before

    @property
    def mdp(self) -> Mdp:
        """For a Context: the environment by its name."""
        return Mdp(name=self.name, num_states=self.num_states, num_actions=self.num_actions)

    @staticmethod
    def from_proto(message: Any, existed: bool = False) -> "StoredEnvironment":
        return StoredEnvironment(
            name=message.name,
            num_states=message.num_states,
            num_actions=message.num_actions,
            num_transitions=int(message.num_transitions),
            total_bytes=int(message.total_bytes),
            memory_bytes=int(message.memory_bytes),
            create_time=message.create_time.ToDatetime().replace(tzinfo=datetime.timezone.utc),
            existed=existed,
        )


def upload(client: "Client", mdp: Mdp, upload_id: Optional[str], timeout: float, progress: Progress) -> Any:
    """The response, after as many streams as it takes. progress(sent, total) is told of each piece, in gRPC's thread.

    Unavailable without a server: broken connections are mended only where there was one.
    """
    return _Upload(client, mdp, upload_id, timeout, progress).run()


class _Upload:
    def __init__(
        self, client: "Client", mdp: Mdp, upload_id: Optional[str], timeout: float, progress: Progress
    ) -> None:
        self._client = client
        self._canonical = CanonicalBytes(mdp)
        self._identity = uuid.uuid4().hex if upload_id is None else upload_id
        self._deadline = time.monotonic() + timeout
        self._progress = progress
        self._answered = False  # the server, once
        self._furthest = 0  # that was sent
        self._digest = ""  # in hex, once all was sent
        self._failure: Optional[Exception] = None  # of progress

    def run(self) -> Any:
        delay = _FIRST_DELAY
        while True:
            before = self._furthest
            try:
                return self._attempt()
            except BilevelError as error:
                # OUT_OF_RANGE: the server has lost the upload since it was asked.
                lost = error.code is grpc.StatusCode.OUT_OF_RANGE
                if not (self._answered and (_is_broken(error) or lost)):
                    raise
                failure = error
            if self._furthest > before:
                delay = _FIRST_DELAY
            if time.monotonic() + delay >= self._deadline:
                raise failure
            time.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _MAX_DELAY)

    def _attempt(self) -> Any:
        offset = self._arrived()
        self._answered = True
        if offset == 0 and self._digest:
            # Perhaps only the answer was lost.
            try:
                request = v1.GetEnvironmentRequest(name="environments/" + self._digest)
                stored = self._client.call("GetEnvironment", request, self._left())
                return v1.UploadEnvironmentResponse(environment=stored)
            except NotFound:
                pass
        return self._send(offset)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the upload took too long", grpc.StatusCode.DEADLINE_EXCEEDED)
        return left

    def _arrived(self) -> int:
        try:
            request = v1.GetUploadRequest(upload_id=self._identity)
            return min(int(self._client.call("GetUpload", request, self._left()).offset), self._canonical.size)
        except NotFound:
            return 0

    def _send(self, offset: int) -> Any:
        try:
            response = self._client.open_stream("UploadEnvironment")(self._requests(offset), timeout=self._left())
        except grpc.RpcError as error:
            if self._failure is not None:
                raise self._failure from None
            raise from_rpc_error(error) from None
        self._progress(self._canonical.size, self._canonical.size)
        return response

    def _requests(self, offset: int) -> Iterator[Any]:
        size, digest = self._canonical.size, hashlib.sha256()
        for piece in self._before(offset):
            digest.update(piece)
        request = v1.UploadEnvironmentRequest(upload_id=self._identity, offset=offset)
        for piece in self._canonical.pieces(offset, _PIECE):
            digest.update(piece)
            request.data = piece
            offset += len(piece)
            if offset == size:
                break
            yield request
            if not self._tell(offset):
                return
            request = v1.UploadEnvironmentRequest(offset=offset)
        request.sha256 = digest.digest()
        self._digest = digest.hexdigest()
        yield request
        self._furthest = size

    def _before(self, offset: int) -> Iterator[bytes]:
        """The bytes up to `offset`, which arrived before."""
        for piece in self._canonical.pieces(0, _PIECE):
            if offset <= 0:
                return
            yield piece[:offset]
            offset -= len(piece)

    def _tell(self, sent: int) -> bool:
        """Whether to go on. gRPC's thread would hide what is raised in it."""
        self._furthest = max(self._furthest, sent)
        try:
            self._progress(sent, self._canonical.size)
        except Exception as error:
            self._failure = error
        return self._failure is None

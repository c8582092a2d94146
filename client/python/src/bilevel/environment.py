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
    """The response, after as many streams as it takes. progress(sent, total) is told of each piece."""
    canonical = CanonicalBytes(mdp)
    identity = uuid.uuid4().hex if upload_id is None else upload_id
    deadline = time.monotonic() + timeout
    resuming, delay = upload_id is not None, _FIRST_DELAY
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the upload took too long", grpc.StatusCode.DEADLINE_EXCEEDED)
        try:
            offset = _arrived(client, identity, left) if resuming else 0
            requests = _requests(canonical, identity, min(offset, canonical.size), progress)
            response = client.open_stream("UploadEnvironment")(requests, timeout=left)
            progress(canonical.size, canonical.size)
            return response
        except grpc.RpcError as error:
            failure = from_rpc_error(error)
        except BilevelError as error:
            failure = error
        # OUT_OF_RANGE: the server has lost the upload since it was asked.
        lost = failure.code is grpc.StatusCode.OUT_OF_RANGE
        if not (_is_broken(failure) or lost) or time.monotonic() + delay >= deadline:
            raise failure from None
        resuming = True
        time.sleep(delay * random.uniform(0.5, 1.0))
        delay = min(2 * delay, _MAX_DELAY)


def _arrived(client: "Client", identity: str, timeout: float) -> int:
    try:
        return int(client.call("GetUpload", v1.GetUploadRequest(upload_id=identity), timeout).offset)
    except NotFound:
        return 0


def _requests(canonical: CanonicalBytes, identity: str, offset: int, progress: Progress) -> Iterator[Any]:
    digest = hashlib.sha256()
    for piece in _before(canonical, offset):
        digest.update(piece)
    request = v1.UploadEnvironmentRequest(upload_id=identity, offset=offset)
    for piece in canonical.pieces(offset, _PIECE):
        digest.update(piece)
        request.data = piece
        if request.offset + len(piece) == canonical.size:
            break
        yield request
        progress(request.offset + len(piece), canonical.size)
        request = v1.UploadEnvironmentRequest(offset=request.offset + len(piece))
    request.sha256 = digest.digest()
    yield request


def _before(canonical: CanonicalBytes, offset: int) -> Iterator[bytes]:
    """The bytes up to `offset`, which arrived before."""
    for piece in canonical.pieces(0, _PIECE):
        if offset <= 0:
            return
        yield piece[:offset]
        offset -= len(piece)

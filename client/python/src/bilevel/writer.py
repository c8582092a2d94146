"""One writer of a session: transitions in, each exactly once, whatever happens to the connection.

    with session.writer() as writer:
        writer.append(episode, state, action, next_state)
        writer.extend(episode=episodes, state=states, action=actions, next_state=next_states, kind=kinds)

Transitions are numbered 1, 2, ... by order. They wait in a bounded buffer, go out in batches, and are kept until the
server says that it will not lose them; after a broken connection the stream goes on where the server stands.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from typing import Any, Callable, Iterator, List, Literal, Optional, Union

import numpy as np
import numpy.typing as npt
import grpc

from bilevel import _columns, v1
from bilevel._buffer import MAX_BATCH, Buffer
from bilevel._link import Connection, Link, logger
from bilevel.arrays import FloatArray, from_array
from bilevel.errors import Aborted, BilevelError, Cancelled, Rejected, from_status
from bilevel.estimate import HypergradientEstimate
from bilevel.outer_loop import OuterStep

Kind = Union[Literal["running", "terminated", "truncated"], int]

# Smaller pieces would cost more than they bring.
_PIECE = 1024
_NO_LIMIT = 2**64 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyUpdate:
    """A policy was made; Session.policy has it."""

    version: int
    merged: int  # transitions that it has learned from
    parameters_version: int
    parameters: Optional[FloatArray]  # x, [n]; None above 1000 entries
    digest: bytes  # SHA-256 of it; see transition_stream.proto
    estimate: Optional[HypergradientEstimate]  # where the session was asked for it
    step: Optional[OuterStep] = None  # the outer loop's last, when it took one since the policy before

    @staticmethod
    def from_proto(message: Any) -> "PolicyUpdate":
        return PolicyUpdate(
            version=int(message.version),
            merged=int(message.merged),
            parameters_version=int(message.parameters_version),
            parameters=from_array(message.parameters) if message.HasField("parameters") else None,
            digest=message.digest,
            estimate=HypergradientEstimate.from_proto(message.estimate) if message.HasField("estimate") else None,
            step=OuterStep.from_proto(message.step) if message.HasField("step") else None,
        )


def _to_request(first: int, columns: _columns.Columns) -> Any:
    return v1.TrainRequest(batch=_columns.to_batch(first, columns))


class Writer(Link):
    """A writer of a session: `session.writer()`. Use it in a `with` block, from any number of threads.

    writer_id: one of the session's writers. batch_size: a batch goes out when so many transitions wait, 1 ... 8192, or
    the oldest has waited max_delay seconds; it takes all that wait, at most 8192. buffer_size: transitions held here
    until the server will not lose them; append waits when it is full. timeout: a call gives up when the server took
    nothing for so many seconds; calls take limits of their own. on_policy: called with each PolicyUpdate in the
    background thread; it must not write, and what it raises is logged.

    A new process resumes by skipping the `accepted` transitions that the server has. Leaving the block waits for all
    (flush) and closes; leaving it by an exception closes at once. A newer stream of the same writer ends this one with
    Aborted, a session that is gone with NotFound; both are final.

    There is one background thread, which ends with close(); gRPC keeps another for each stream while it lives.
    """

    def __init__(
        self,
        start: Callable[[Iterator[Any]], Any],
        session: str,
        writer_id: str = "default",
        *,
        batch_size: int = 256,
        max_delay: float = 0.005,
        buffer_size: int = 65_536,
        timeout: float = 60.0,
        on_policy: Optional[Callable[[PolicyUpdate], None]] = None,
    ) -> None:
        if not 1 <= batch_size <= MAX_BATCH:
            raise ValueError(f"batch_size is {batch_size}; must be in [1, {MAX_BATCH}]")
        if buffer_size < batch_size:
            raise ValueError(f"buffer_size is {buffer_size}; must be at least batch_size = {batch_size}")
        super().__init__(f"writer {writer_id} of {session}", start, timeout)
        self._batch_size = batch_size
        self._max_delay = max_delay
        self._buffer_size = buffer_size
        self._on_policy = on_policy
        self._open_writer = v1.OpenWriter(session=session, writer_id=writer_id)

        self._buffer = Buffer()
        self._next_sequence = 1  # to be sent
        self._sent = 0  # the highest that was ever sent
        self._accepted = 0
        self._durable = 0
        self._credit = 0
        self._progress_before = 0  # when this connection was opened
        self._hurry = False
        self._limit = _NO_LIMIT  # the last before one that was rejected
        self._rejection: Optional[Rejected] = None
        self._policy: Optional[PolicyUpdate] = None
        self._policy_told = False
        self._open()

    # What is known.

    @property
    def accepted(self) -> int:
        """Number of the last transition that the server has accepted; it may fall back to `durable` when that dies."""
        return self._accepted

    @property
    def durable(self) -> int:
        """Number of the last transition that survives the server."""
        return self._durable

    @property
    def appended(self) -> int:
        """Number of the last transition that was taken here."""
        return self._buffer.last

    @property
    def policy_update(self) -> Optional[PolicyUpdate]:
        """The newest policy that this stream was told of."""
        return self._policy

    # Writing.

    def append(
        self,
        episode: int,
        state: int,
        action: int,
        next_state: int,
        kind: Kind = "running",
        context: int = 0,
        leader_reward: Optional[float] = None,
        behavior_log_probability: Optional[float] = None,
        parameters_version: Optional[int] = None,
        features: Optional[npt.ArrayLike] = None,
        next_features: Optional[npt.ArrayLike] = None,
        timeout: Optional[float] = None,
    ) -> None:
        """Takes one transition; TransitionBatch in transition_stream.proto says what the columns mean.

        kind: "running"; "terminated", the environment ended the episode, or "truncated", the writer stopped looking.
        Waits while the buffer is full, and raises DeadlineExceeded when nothing was taken in time. Raises what the
        server said of earlier transitions: Rejected (see take_back), Aborted, NotFound.
        """
        row = (
            _columns.whole("episode", episode, "<u8"),
            _columns.whole("state", state, "<u4"),
            _columns.whole("action", action, "<u4"),
            _columns.whole("next_state", next_state, "<u4"),
            _columns.kind_number(kind),
            _columns.whole("context", context, "<u4"),
            None if leader_reward is None else float(leader_reward),
            None if behavior_log_probability is None else float(behavior_log_probability),
            None if parameters_version is None else _columns.whole("parameters_version", parameters_version, "<u8"),
            None if features is None else np.array(features, dtype=np.float64, ndmin=1),
            None if next_features is None else np.array(next_features, dtype=np.float64, ndmin=1),
        )
        with self._changed:
            self._await_room(1, timeout)
            if self._buffer.append(row) in (1, self._batch_size):
                self._changed.notify_all()

    def extend(
        self,
        episode: npt.ArrayLike,
        state: npt.ArrayLike,
        action: npt.ArrayLike,
        next_state: npt.ArrayLike,
        kind: npt.ArrayLike = 0,
        context: npt.ArrayLike = 0,
        leader_reward: Optional[npt.ArrayLike] = None,
        behavior_log_probability: Optional[npt.ArrayLike] = None,
        parameters_version: Optional[npt.ArrayLike] = None,
        features: Optional[npt.ArrayLike] = None,
        next_features: Optional[npt.ArrayLike] = None,
        timeout: Optional[float] = None,
    ) -> None:
        """Takes many transitions: columns [k] of any integer type, features [k, m]; numbers stand for equal entries.

        kind: 0 running, 1 terminated, 2 truncated, or their names. Columns are copied. As append; goes in piece by piece
        where the buffer has no room for all, so `appended` says how far it came when it raises.
        """
        count, arrays = _columns.checked(
            {
                "episode": episode,
                "state": state,
                "action": action,
                "next_state": next_state,
                "kind": kind,
                "context": context,
                "leader_reward": leader_reward,
                "behavior_log_probability": behavior_log_probability,
                "parameters_version": parameters_version,
                "features": features,
                "next_features": next_features,
            }
        )
        deadline = None if timeout is None else time.monotonic() + timeout
        done = 0
        while done < count:
            with self._changed:
                left = None if deadline is None else deadline - time.monotonic()
                room = self._await_room(min(count - done, _PIECE, self._buffer_size), left)
                size = min(count - done, room, MAX_BATCH)
                self._buffer.extend(_columns.copied(arrays, done, done + size), size)
                self._changed.notify_all()
            done += size

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits until the server will not lose what was taken so far. Raises DeadlineExceeded, and as append."""
        with self._changed:
            goal = self._buffer.last
            self._hurry = self._next_sequence <= goal
            self._changed.notify_all()
            self._await(
                lambda: self._durable >= goal, timeout, lambda: f"{self._accepted} of {goal} transitions are accepted"
            )

    def take_back(self) -> List[_columns.Columns]:
        """After Rejected: takes what the server has not accepted out of the buffer, from the rejected transition on.

        As columns; more than one set where transitions differ in which columns they have. Mend and write them again, or
        leave them out; the writer goes on:

            for columns in writer.take_back():
                writer.extend(**mended(columns))

        After a final error: what was not known to be accepted.
        """
        with self._changed:
            if self._rejection is None and self._failure is None:
                raise ValueError("nothing was rejected")
            known = self._accepted if self._rejection is None else self._limit
            taken = self._buffer.take_from(1 + max(self._buffer.kept, known))
            self._sent = min(self._sent, self._buffer.last)
            self._rejection = None
            self._limit = _NO_LIMIT
            self._changed.notify_all()
            return taken

    def finish(self, timeout: Optional[float] = None) -> None:
        """Waits for everything as flush does, then says that no more will come from this writer in any stream; closes.

        The session then waits for this writer's turn no more. The writer cannot be opened for writing again.
        """
        begin = time.monotonic()
        self.flush(timeout)
        super().finish(None if timeout is None else max(0.0, timeout - (time.monotonic() - begin)))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None and not self._closing:
                self.flush()
        finally:
            self.close()

    # Under the lock.

    def _check(self) -> None:
        super()._check()
        # What came before the rejected one is sent again first, and accepted.
        if self._rejection is not None and self._accepted >= self._limit:
            raise self._rejection

    def _await_room(self, least: int, timeout: Optional[float]) -> int:
        self._check()
        if self._finishing:
            raise Cancelled("this Writer has finished", grpc.StatusCode.CANCELLED)
        if self._buffer_size - len(self._buffer) < least:
            self._hurry = True
            self._changed.notify_all()
            self._await(
                lambda: self._buffer_size - len(self._buffer) >= least,
                timeout,
                lambda: f"the buffer of {self._buffer_size} transitions is full; {self._accepted} are accepted, credit is "
                f"up to {self._credit}",
            )
        return self._buffer_size - len(self._buffer)

    def _opening(self) -> Any:
        return v1.TrainRequest(open=self._open_writer)

    def _until(self) -> int:
        until = min(self._credit, self._limit, self._buffer.last)
        if self._attempt > 0 and self._progress == self._progress_before:
            # Connections break before a batch is through; a smaller one may pass.
            until = min(until, self._accepted + max(1, self._batch_size >> (self._attempt - 1)))
        return until

    def _due(self) -> float:
        """When the oldest transition that was not sent has waited long enough; 0: there are enough."""
        if self._hurry or self._finishing or self._buffer.last - self._next_sequence + 1 >= self._batch_size:
            return 0.0
        if self._next_sequence <= self._sent:
            return 0.0
        return self._buffer.born(self._next_sequence) + self._max_delay

    def _wait(self) -> Optional[float]:
        if self._next_sequence > self._until():
            return None
        return max(0.0, self._due() - time.monotonic())

    def _next(self, connection: Connection) -> Optional[Callable[[], Any]]:
        until = self._until()
        if self._next_sequence > until or self._due() > time.monotonic():
            return None
        first = self._next_sequence
        columns = self._buffer.batch(first, until)
        self._next_sequence = first + len(columns["state"])
        self._sent = max(self._sent, self._next_sequence - 1)
        if self._next_sequence > self._buffer.last:
            self._hurry = False
        return functools.partial(_to_request, first, columns)

    def _finish_request(self) -> Any:
        if self._accepted < self._buffer.last:
            return None
        return v1.TrainRequest(finish=v1.FinishWriter(last_sequence=self._buffer.last))

    def _receive(self, connection: Connection, message: Any) -> bool:
        kind = message.WhichOneof("message")
        if kind == "opened":
            self._resume(message.opened)
            connection.opened = True
        elif kind == "ack":
            self._learn(message.ack)
        elif kind == "policy":
            if self._policy is None or message.policy.version != self._policy.version:
                self._policy = PolicyUpdate.from_proto(message.policy)
                self._policy_told = False
        elif kind == "rejected":
            self._reject(message.rejected)
            return False  # what follows is rejected as a gap; a new connection starts clean
        elif kind == "draining":
            delay = message.draining.retry_delay
            connection.retry_delay = delay.seconds + 1e-9 * delay.nanos
        return True

    def _resume(self, progress: Any) -> None:
        accepted = progress.accepted_sequence
        if not self._opened:
            self._opened = True
            self._buffer.begin_after(accepted)
            self._sent = accepted
        elif accepted < self._buffer.kept:
            raise BilevelError(
                f"the server fell back to transition {accepted}; the writer no longer holds those up to {self._buffer.kept}, "
                "which had been called durable",
                grpc.StatusCode.DATA_LOSS,
            )
        elif accepted > self._sent:
            raise Aborted(
                f"the server has {accepted} transitions of this writer, and {self._sent} were sent from here: somebody "
                "else writes in its name",
                grpc.StatusCode.ABORTED,
            )
        self._next_sequence = accepted + 1
        self._learn(progress)
        self._progress_before = self._progress

    def _learn(self, progress: Any) -> None:
        if progress.accepted_sequence > self._accepted or progress.durable_sequence > self._durable:
            self._progress += 1
        self._accepted = progress.accepted_sequence
        self._durable = progress.durable_sequence
        self._credit = progress.credit_until
        self._buffer.drop(self._durable)

    def _reject(self, rejected: Any) -> None:
        error = from_status(rejected.status, Rejected)
        assert isinstance(error, Rejected)
        if rejected.first_sequence == 0:  # of finish
            raise from_status(rejected.status)
        index = re.search(r"\[(\d+)\]$", error.field)
        error.sequence = rejected.first_sequence + (int(index.group(1)) if index else 0)
        error.transition = self._buffer.row(error.sequence)
        error.args = (f"transition {error.sequence}: {error.args[0]}",)
        self._rejection = error
        self._limit = error.sequence - 1

    def _notify(self) -> None:
        with self._changed:
            update, told = self._policy, self._policy_told
            self._policy_told = True
        if update is None or told or self._on_policy is None:
            return
        try:
            self._on_policy(update)
        except Exception:
            logger.exception("on_policy failed")

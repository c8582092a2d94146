"""Sessions: learning from streamed transitions where nobody can write P down. session_service.proto says it in full.

    session = client.create_session(problem, [0.0])
    with session.writer() as writer:
        writer.extend(episode=episodes, state=states, action=actions, next_state=next_states, kind=kinds)
    estimate = session.hypergradient()
    print(estimate.gradient, estimate.interval(0.95))
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import grpc
import numpy.typing as npt

from bilevel import v1
from bilevel.actor import Actor
from bilevel.arrays import FloatArray, from_array, to_array
from bilevel.errors import BilevelError, DeadlineExceeded, FailedPrecondition, ResourceExhausted, from_status
from bilevel.estimate import Estimator, EstimatorName, HypergradientEstimate
from bilevel.outer_loop import OuterLoopStatus, OuterStep
from bilevel.preferences import Preference
from bilevel.referee import RefereeRow, referee
from bilevel.steps import Steps
from bilevel.writer import Writer

if TYPE_CHECKING:
    from bilevel.client import AnyProblem, Client, LowerLevelOptions

_MAX_PREFERENCES = 8192
_POLL_SECONDS = (0.002, 0.1)


@dataclasses.dataclass(frozen=True)
class Drift:
    """An alarm: after `merged` transitions it was noticed that the world or the follower of a context had changed."""

    merged: int
    what: str  # transitions, policy
    context: int
    p_value: float
    residual_shift: float = 0.0  # how the Bellman residual of the value known before moved, in standard deviations

    @staticmethod
    def from_proto(message: Any) -> "Drift":
        return Drift(
            merged=int(message.merged),
            what=v1.Drift.What.Name(message.what)[len("WHAT_") :].lower(),
            context=message.context,
            p_value=message.p_value,
            residual_shift=message.residual_shift,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SessionStatus:
    """How far a session has come."""

    name: str  # sessions/{id}; empty with validate_only
    accepted: int  # transitions, from all writers
    merged: int  # learned from
    dropped: int  # of a new kind for which max_distinct left no room
    policy_version: int  # 0: no policy yet
    waiting_for: str  # the writer whose turn it is while others wait for it; else empty
    reserved_bytes: float
    failure: Optional[BilevelError]  # why learning stopped for good
    parameters_version: int  # 1 at creation
    parameters: Optional[FloatArray]  # x, [n]
    trajectories: int
    trajectory_steps: int
    preferences: int  # number of the last one accepted
    follower: str  # solved, simulated, observed
    drifts: int = 0  # alarms so far, of sessions with a DriftTest
    last_drift: Optional[Drift] = None
    outer_loop: Optional[OuterLoopStatus] = None  # of sessions with one; client.sessions() leaves out last and best
    next_policy_at: int = 0  # transitions merged at which the next policy is due; 0: there will be none
    contexts: Tuple[Tuple[int, int], ...] = ()  # states and actions of each; client.sessions() leaves them out

    @staticmethod
    def from_proto(message: Any) -> "SessionStatus":
        return SessionStatus(
            name=message.name,
            accepted=int(message.accepted),
            merged=int(message.merged),
            dropped=int(message.dropped),
            policy_version=int(message.policy_version),
            waiting_for=message.waiting_for,
            reserved_bytes=message.reserved_bytes,
            failure=from_status(message.failure) if message.HasField("failure") else None,
            parameters_version=int(message.parameters_version),
            parameters=from_array(message.parameters) if message.HasField("parameters") else None,
            trajectories=int(message.trajectories),
            trajectory_steps=int(message.trajectory_steps),
            preferences=int(message.preferences),
            follower=v1.Follower(message.follower).name[len("FOLLOWER_") :].lower() if message.follower else "solved",
            drifts=int(message.drifts),
            last_drift=Drift.from_proto(message.last_drift) if message.HasField("last_drift") else None,
            outer_loop=OuterLoopStatus.from_proto(message.outer_loop) if message.HasField("outer_loop") else None,
            next_policy_at=int(message.next_policy_at),
            contexts=tuple((size.num_states, size.num_actions) for size in message.contexts),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """A follower's policy as far as it is known."""

    policy: FloatArray  # pi, [S, A]
    log_policy: FloatArray  # [S, A]; 0 where unavailable
    value: FloatArray  # V, [S]
    residual: float  # max |V - T V| on the estimated model
    unseen_rows: int  # available (s, a) never seen

    @staticmethod
    def from_proto(message: Any) -> "LearnedPolicy":
        return LearnedPolicy(
            policy=from_array(message.policy),
            log_policy=from_array(message.log_policy),
            value=from_array(message.value),
            residual=message.residual,
            unseen_rows=int(message.unseen_rows),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SessionPolicy:
    """A policy that was learned, for each context."""

    version: int
    merged: int  # transitions that it has learned from
    parameters: FloatArray  # x, [n]
    parameters_version: int
    contexts: Tuple[LearnedPolicy, ...]

    @staticmethod
    def from_proto(message: Any) -> "SessionPolicy":
        return SessionPolicy(
            version=int(message.version),
            merged=int(message.merged),
            parameters=from_array(message.parameters),
            parameters_version=int(message.parameters_version),
            contexts=tuple(LearnedPolicy.from_proto(context) for context in message.contexts),
        )


class PreferencesAdded(NamedTuple):
    """What a session has of preferences."""

    accepted: int  # number of the last
    steps: int  # of all fragments held


class Session:
    """A session of the server: what client.create_session and client.session return."""

    def __init__(self, client: "Client", name: str) -> None:
        self._client = client
        self.name = name if name.startswith("sessions/") else f"sessions/{name}"

    def __repr__(self) -> str:
        return f"Session({self.name!r}, of {self._client.target})"

    def status(self, *, timeout: Optional[float] = None) -> SessionStatus:
        """How far it has come."""
        return SessionStatus.from_proto(self._client.call("GetSession", v1.GetSessionRequest(name=self.name), timeout))

    def delete(self, *, timeout: Optional[float] = None) -> None:
        """Ends it, and its streams."""
        self._client.call("DeleteSession", v1.DeleteSessionRequest(name=self.name), timeout)

    def writer(self, writer_id: str = "default", **options: Any) -> Writer:
        """Streams transitions in; options as of Writer. NotFound without such a session or writer."""
        return Writer(self._client.open_stream("Train"), self.name, writer_id, **options)

    def actor(self, writer_id: str = "default", **options: Any) -> Actor:
        """Takes actions as a simulated follower; options as of Actor. FailedPrecondition for other followers."""
        return Actor(self._client.open_stream("Act"), self.name, writer_id, **options)

    def policy(self, if_newer_than: int = 0, *, timeout: Optional[float] = None) -> Optional[SessionPolicy]:
        """The newest policy that was learned, of any size; None when there is none of a higher version."""
        request = v1.GetPolicyRequest(name=self.name, if_newer_than=if_newer_than)
        try:
            response = self._client.call("GetPolicy", request, timeout)
        except ResourceExhausted as error:
            if error.retry_delay is not None:
                raise
            response = self._download(request, timeout)
        return SessionPolicy.from_proto(response) if response.version > 0 else None

    def _download(self, request: Any, timeout: Optional[float]) -> Any:
        data = bytearray()
        total = 0.0
        for chunk in self._client.stream("DownloadPolicy", request, timeout):
            if chunk.offset != len(data):
                raise BilevelError(
                    f"a piece of the policy begins at {chunk.offset:.0f}; expected {len(data)}",
                    grpc.StatusCode.DATA_LOSS,
                )
            data += chunk.data
            total = chunk.total_bytes
        if len(data) != total:
            raise BilevelError(f"{len(data)} of the {total:.0f} bytes of the policy came", grpc.StatusCode.DATA_LOSS)
        return v1.GetPolicyResponse.FromString(bytes(data))

    def wait(
        self, merged: int = 0, policy_version: int = 0, parameters_version: int = 0, *, timeout: float = 60.0
    ) -> SessionStatus:
        """Waits until so many transitions are learned from, and there are such a policy and such an x; asks now and then.

        Raises DeadlineExceeded, and the session's failure.
        """
        deadline = time.monotonic() + timeout
        pause, most = _POLL_SECONDS
        while True:
            status = self.status(timeout=max(0.1, deadline - time.monotonic()))
            if (
                status.merged >= merged
                and status.policy_version >= policy_version
                and status.parameters_version >= parameters_version
            ):
                return status
            if status.failure is not None:
                raise status.failure
            left = deadline - time.monotonic()
            if left <= 0:
                waiting = f", and waits for writer {status.waiting_for}" if status.waiting_for else ""
                raise DeadlineExceeded(
                    f"{self.name} has learned from {status.merged} transitions and made policy {status.policy_version} "
                    f"of x {status.parameters_version}{waiting}",
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                )
            time.sleep(min(pause, left))
            pause = min(2 * pause, most)

    def hypergradient(
        self,
        estimator: Union[EstimatorName, Estimator] = "plug_in",
        parameters: Optional[npt.ArrayLike] = None,
        *,
        lower_level: Optional["LowerLevelOptions"] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> HypergradientEstimate:
        """Objective and hyper-gradient from the transitions so far, with standard errors.

        estimator: an Estimator, or its name and `options`: hypergradient("critic", baseline="model", seed=1).
        parameters: x, [n], by default the session's; estimators from trajectories know the session's alone.
        """
        if isinstance(estimator, Estimator):
            if options:
                raise TypeError(f"{', '.join(options)}: belong into the Estimator that is given")
        else:
            estimator = Estimator(estimator, **options)
        request = v1.EstimateHypergradientRequest(name=self.name, options=estimator.to_proto())
        self._client._fill(request, parameters, lower_level, time_limit)
        response = self._client.call("EstimateHypergradient", request, timeout)
        on_model = response.on_model if response.HasField("on_model") else None
        return HypergradientEstimate.from_proto(response.estimate, on_model)

    def set_parameters(
        self, parameters: npt.ArrayLike, after_merged: Optional[int] = None, *, timeout: Optional[float] = None
    ) -> SessionStatus:
        """Moves the leader to another x, by default as soon as can be, else when so many transitions are merged.

        What was learned of the world stays.
        """
        request = v1.SetParametersRequest(name=self.name, parameters=to_array(parameters), after_merged=after_merged)
        return SessionStatus.from_proto(self._client.call("SetParameters", request, timeout))

    def step(self, number: Optional[int] = None, *, timeout: Optional[float] = None) -> OuterStep:
        """Takes the outer loop's next step now, from the transitions so far, and makes the policy where it leads.

        number: of the step that is meant, one more than the last; then the call may be made again, and a step that was
        taken is answered again while it is kept. FailedPrecondition when the loop has stopped or must wait, and for what.
        """
        return OuterStep.from_proto(
            self._client.call("StepSession", v1.StepSessionRequest(name=self.name, number=number or 0), timeout)
        )

    def steps(
        self,
        after: int = 0,
        until: Optional[int] = None,
        *,
        timeout: Optional[float] = None,
        patience: float = 60.0,
    ) -> Steps:
        """The outer loop's steps after number `after`, those taken first, then as they are taken, until it has stopped.

        Ends with number `until`, where given. timeout and patience: as of Steps.
        """
        start = self._client.open_stream("WatchSteps")
        return Steps(start, self.name, after, until, timeout=timeout, patience=patience)

    def referee(
        self, problem: "AnyProblem", steps: Optional[Iterable[OuterStep]] = None, *, timeout: Optional[float] = None
    ) -> Tuple[RefereeRow, ...]:
        """The outer loop's steps against the known world: a row for each, with the exact hyper-gradient at its x.

        problem: with the transitions that the session does not know. steps: by default those that were taken so far and
        are kept. timeout: of each call.
        """
        if steps is None:
            status = self.status(timeout=timeout).outer_loop
            if status is None:
                raise FailedPrecondition(f"{self.name} has no outer_loop", grpc.StatusCode.FAILED_PRECONDITION)
            steps = self.steps(until=status.steps, timeout=timeout)
        return tuple(referee(self._client, problem, steps, timeout=timeout))

    def add_preferences(
        self,
        preferences: Sequence[Preference],
        first_sequence: Optional[int] = None,
        *,
        timeout: Optional[float] = None,
    ) -> PreferencesAdded:
        """Labels for pairs of fragments, numbered from first_sequence on: 1 for the session's first.

        Numbers that were accepted before are skipped, so a call may be made again. By default they follow what the
        session has, for which nobody else may add any meanwhile.
        """
        messages: List[Any] = [preference.to_proto() for preference in preferences]
        if first_sequence is None:
            first_sequence = self.status(timeout=timeout).preferences + 1
        added = PreferencesAdded(first_sequence - 1, 0)
        for begin in range(0, max(1, len(messages)), _MAX_PREFERENCES):
            request = v1.AddPreferencesRequest(
                name=self.name,
                first_sequence=first_sequence + begin,
                preferences=messages[begin : begin + _MAX_PREFERENCES],
            )
            response = self._client.call("AddPreferences", request, timeout)
            added = PreferencesAdded(int(response.accepted_sequence), int(response.steps))
        return added

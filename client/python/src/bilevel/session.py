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
from typing import TYPE_CHECKING, Any, List, Literal, NamedTuple, Optional, Sequence, Tuple, Union

import grpc
import numpy.typing as npt

from bilevel import v1
from bilevel.actor import Actor
from bilevel.arrays import FloatArray, from_array, to_array
from bilevel.errors import BilevelError, DeadlineExceeded, ResourceExhausted, from_status
from bilevel.estimate import Estimator, EstimatorName, HypergradientEstimate, enum_value
from bilevel.problem import Problem
from bilevel.writer import Writer

if TYPE_CHECKING:
    from bilevel.client import Client, LowerLevelOptions

_MAX_PREFERENCES = 8192
_POLL_SECONDS = (0.002, 0.1)


@dataclasses.dataclass(frozen=True)
class ModelPrior:
    """What is taken for a row (s, a) before anything was seen of it, and how many transitions that weighs afterwards."""

    kind: Literal["stay", "end", "neighbours"] = "stay"
    strength: float = 0.0

    def to_proto(self) -> Any:
        if self.kind not in ("stay", "end", "neighbours"):
            raise ValueError(f"prior is {self.kind!r}; must be stay, end or neighbours")
        return v1.ModelPrior(kind=v1.ModelPrior.Kind.Value(f"KIND_{self.kind.upper()}"), strength=self.strength)


@dataclasses.dataclass(frozen=True)
class StepSchedule:
    """Step sizes first / (1 + k / scale)^power; None means the server's default."""

    first: Optional[float] = None
    power: Optional[float] = None
    scale: Optional[float] = None

    def to_proto(self) -> Any:
        return v1.StepSchedule(first=self.first, power=self.power, scale=self.scale)


@dataclasses.dataclass(frozen=True)
class CountLearner:
    """Transitions are counted and no policy is made."""

    def fill(self, request: Any) -> None:
        request.count.SetInParent()


@dataclasses.dataclass(frozen=True)
class PlugInLearner:
    """The policy is exact on the estimated model."""

    lower_level: Optional["LowerLevelOptions"] = None

    def fill(self, request: Any) -> None:
        request.plug_in.SetInParent()
        if self.lower_level is not None:
            request.plug_in.lower_level.CopyFrom(self.lower_level.to_proto())


@dataclasses.dataclass(frozen=True)
class SoftQLearner:
    """The policy by soft Q-learning; None means the server's default.

    learn_gradient: whether grad Q is learned beside Q, for estimators with the learned critic. num_features: width of
    the features that transitions then carry; 0 for tables.
    """

    q: Optional[StepSchedule] = None
    gradient: Optional[StepSchedule] = None
    replay_capacity: Optional[int] = None
    replay_draws: Optional[int] = None
    learn_gradient: bool = False
    num_features: int = 0

    def fill(self, request: Any) -> None:
        request.soft_q.CopyFrom(
            v1.SoftQLearner(
                q=None if self.q is None else self.q.to_proto(),
                gradient=None if self.gradient is None else self.gradient.to_proto(),
                replay_capacity=self.replay_capacity,
                replay_draws=self.replay_draws,
                learn_gradient=self.learn_gradient,
                num_features=self.num_features,
            )
        )


@dataclasses.dataclass(frozen=True)
class ObservedLearner:
    """The policy as it was seen, of observed followers alone."""

    strength: Optional[float] = None

    def fill(self, request: Any) -> None:
        request.observed.CopyFrom(v1.ObservedLearner(strength=self.strength))


Learner = Union[CountLearner, PlugInLearner, SoftQLearner, ObservedLearner]
LearnerName = Literal["count", "plug_in", "soft_q", "observed"]
FollowerName = Literal["solved", "simulated", "observed"]

_LEARNERS = {"count": CountLearner, "plug_in": PlugInLearner, "soft_q": SoftQLearner, "observed": ObservedLearner}


def learner_named(learner: Union[Learner, LearnerName]) -> Learner:
    """A learner by its name or as itself."""
    if isinstance(learner, tuple(_LEARNERS.values())):
        return learner  # type: ignore[return-value]
    if isinstance(learner, str) and learner in _LEARNERS:
        return _LEARNERS[learner]()  # type: ignore[no-any-return]
    rule = f"must be {', '.join(_LEARNERS)}, or an instance of their classes, such as SoftQLearner()"
    raise (ValueError if isinstance(learner, str) else TypeError)(f"learner is {learner!r}; {rule}")


def session_problem(problem: Any) -> Any:
    """The message of a problem without what its environments' transitions and terminations are: a session learns them."""
    message = v1.Problem()
    message.CopyFrom(problem.to_proto() if isinstance(problem, Problem) else problem)
    for context in message.contexts:
        context.environment.ClearField("transitions")
        context.environment.ClearField("termination_probability")
    return message


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


@dataclasses.dataclass(frozen=True)
class FragmentRange:
    """Steps of a trajectory that the session has seen, the first being 0."""

    episode: int
    first_step: int
    count: int
    writer_id: str = "default"

    def to_proto(self) -> Any:
        message = v1.Fragment()
        message.range.writer_id = self.writer_id
        message.range.episode_id = self.episode
        message.range.first_step = self.first_step
        message.range.count = self.count
        return message


@dataclasses.dataclass(frozen=True, eq=False)
class FragmentSteps:
    """Steps that the session may never have seen: states and actions, [k] each."""

    state: npt.ArrayLike
    action: npt.ArrayLike
    context: int = 0

    def to_proto(self) -> Any:
        message = v1.Fragment()
        message.steps.state.CopyFrom(to_array(self.state, "u4"))
        message.steps.action.CopyFrom(to_array(self.action, "u4"))
        message.steps.context = self.context
        return message


Fragment = Union[FragmentRange, FragmentSteps]


@dataclasses.dataclass(frozen=True, eq=False)
class Preference:
    """What somebody thinks of two fragments: 1 where the first is preferred, 0 the second, 0.5 neither."""

    first: Fragment
    second: Fragment
    first_preferred: float = 1.0

    def to_proto(self) -> Any:
        return v1.Preference(
            first=self.first.to_proto(), second=self.second.to_proto(), first_preferred=self.first_preferred
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


def create_request(
    problem: Any,
    parameters: Optional[npt.ArrayLike],
    learner: Union[Learner, LearnerName, None],
    follower: FollowerName,
    prior: Optional[ModelPrior],
    estimate_with_policy: Union[Estimator, EstimatorName, None],
    **fields: Any,
) -> Any:
    """A CreateSessionRequest."""
    request = v1.CreateSessionRequest(
        problem=session_problem(problem), follower=enum_value("follower", follower, "FOLLOWER_", v1.Follower), **fields
    )
    if parameters is not None:
        request.parameters.CopyFrom(to_array(parameters))
    if learner is not None:
        learner_named(learner).fill(request)
    if prior is not None:
        request.prior.CopyFrom(prior.to_proto())
    if estimate_with_policy is not None:
        how = estimate_with_policy
        request.estimate_with_policy.CopyFrom((how if isinstance(how, Estimator) else Estimator(how)).to_proto())
    return request

"""How a session learns: priors, learners, and the request that creates it. session_service.proto says it in full."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import to_array
from bilevel.estimate import Estimator, EstimatorName, enum_value
from bilevel.problem import Problem

if TYPE_CHECKING:
    from bilevel.client import LowerLevelOptions


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
class DriftTest:
    """Looks for drift of the follower and the world, every `window` transitions; None means the server's default.

    significance: probability, at most, of a false alarm over the session's life. keep: only tell; else an alarm forgets
    what was learned before the window.
    """

    window: Optional[int] = None
    significance: Optional[float] = None
    keep: bool = False

    def to_proto(self) -> Any:
        return v1.DriftTest(window=self.window, significance=self.significance, keep=self.keep)


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
        if not context.HasField("environment"):
            continue
        context.environment.ClearField("transitions")
        context.environment.ClearField("termination_probability")
    return message


def create_request(
    problem: Any,
    parameters: Optional[npt.ArrayLike],
    learner: Union[Learner, LearnerName, None],
    follower: FollowerName,
    prior: Optional[ModelPrior],
    estimate_with_policy: Union[Estimator, EstimatorName, None],
    drift: Optional[DriftTest],
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
    if drift is not None:
        request.drift.CopyFrom(drift.to_proto())
    if estimate_with_policy is not None:
        how = estimate_with_policy
        request.estimate_with_policy.CopyFrom((how if isinstance(how, Estimator) else Estimator(how)).to_proto())
    return request

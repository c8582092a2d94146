"""What the leader measures: the five terms that objectives are made of."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Optional, Union

import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import from_array, to_array
from bilevel.mdp import matrix_from_proto, matrix_to_proto
from bilevel.reward import Reward

Divergence = Literal["squared_distance", "forward_kl", "reverse_kl", "entropy"]


def _put(message: Any, **arrays: Optional[npt.ArrayLike]) -> None:
    for name, array in arrays.items():
        if array is not None:
            getattr(message, name).CopyFrom(to_array(array))


def _get(message: Any, name: str, shape: Any = None) -> Any:
    if not message.HasField(name):
        return None
    return from_array(getattr(message, name)) if shape is None else from_array(getattr(message, name), shape)


@dataclasses.dataclass(frozen=True, eq=False)
class LeaderReturn:
    """The leader's expected discounted return under the follower's policy."""

    reward: Reward
    weight: float = 1.0
    discount: Optional[float] = None  # default: the context's
    initial_distribution: Optional[npt.ArrayLike] = None  # [S]; default: the environment's

    def to_proto(self) -> Any:
        term = v1.LeaderReturn(reward=self.reward.to_proto(), discount=self.discount)
        _put(term, initial_distribution=self.initial_distribution)
        return v1.ObjectiveTerm(weight=self.weight, leader_return=term)


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureMatching:
    """1/2 |expected discounted features that the follower meets - target|_2^2."""

    features: Any  # [S, A, k], or sparse with rows s * A + a: [S * A, k]
    target: npt.ArrayLike  # [k], a discounted sum
    weight: float = 1.0
    discount: Optional[float] = None  # default: the context's
    initial_distribution: Optional[npt.ArrayLike] = None  # [S]; default: the environment's

    def to_proto(self) -> Any:
        term = v1.FeatureMatching(features=matrix_to_proto(self.features), discount=self.discount)
        _put(term, target=self.target, initial_distribution=self.initial_distribution)
        return v1.ObjectiveTerm(weight=self.weight, feature_matching=term)


@dataclasses.dataclass(frozen=True, eq=False)
class Demonstrations:
    """Negative mean log-likelihood of choices that were seen `counts` times."""

    counts: npt.ArrayLike  # [S, A], >= 0
    weight: float = 1.0

    def to_proto(self) -> Any:
        return v1.ObjectiveTerm(weight=self.weight, demonstrations=v1.Demonstrations(counts=to_array(self.counts)))


@dataclasses.dataclass(frozen=True, eq=False)
class Separable:
    """sum_s state_weights(s) h(pi(.|s)); h is half the squared distance to target(s, .), a KL divergence, or the entropy.

    forward_kl is KL(target | pi), reverse_kl is KL(pi | target).
    """

    target: Optional[npt.ArrayLike] = None  # [S, A]; squared distance: default zeros
    state_weights: Optional[npt.ArrayLike] = None  # [S]; default: ones
    kind: Divergence = "squared_distance"
    weight: float = 1.0

    def to_proto(self) -> Any:
        name = f"KIND_{self.kind.upper()}"
        if name not in v1.Separable.Kind.keys():
            raise ValueError(f"kind is {self.kind!r}; must be squared_distance, forward_kl, reverse_kl or entropy")
        term = v1.Separable(kind=v1.Separable.Kind.Value(name))
        _put(term, target=self.target, state_weights=self.state_weights)
        return v1.ObjectiveTerm(weight=self.weight, separable=term)


@dataclasses.dataclass(frozen=True, eq=False)
class FollowerValue:
    """The follower's own soft value, entropy included."""

    weight: float = 1.0
    initial_distribution: Optional[npt.ArrayLike] = None  # [S]; default: the environment's

    def to_proto(self) -> Any:
        term = v1.FollowerValue()
        _put(term, initial_distribution=self.initial_distribution)
        return v1.ObjectiveTerm(weight=self.weight, follower_value=term)


ObjectiveTerm = Union[LeaderReturn, FeatureMatching, Demonstrations, Separable, FollowerValue]


def term_from_proto(message: Any, num_states: int, num_actions: int) -> ObjectiveTerm:
    weight = message.weight if message.HasField("weight") else 1.0
    pair = (num_states, num_actions) if num_states else None
    name = message.WhichOneof("term")
    term = getattr(message, name or "leader_return")
    if name == "separable":
        kind = v1.Separable.Kind.Name(term.kind)[len("KIND_") :].lower() if term.kind else "squared_distance"
        return Separable(_get(term, "target", pair), _get(term, "state_weights"), kind, weight)
    if name == "demonstrations":
        return Demonstrations(from_array(term.counts, pair), weight)
    initial = _get(term, "initial_distribution")
    if name == "follower_value":
        return FollowerValue(weight, initial)
    discount = term.discount if term.HasField("discount") else None
    if name == "feature_matching":
        features = matrix_from_proto(term.features)
        if getattr(features, "ndim", 2) == 1 and pair is not None:
            features = features.reshape(*pair, -1)
        return FeatureMatching(features, from_array(term.target), weight, discount, initial)
    return LeaderReturn(Reward.from_proto(term.reward, num_states, num_actions), weight, discount, initial)

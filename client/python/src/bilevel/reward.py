"""Rewards that depend on the leader's parameters."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import from_array, to_array
from bilevel.mdp import is_sparse, matrix_from_proto, matrix_to_proto


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticForm:
    """coefficient(s, a) * x^T matrix x."""

    coefficient: npt.ArrayLike  # [S, A]
    matrix: npt.ArrayLike  # [n, n]

    def to_proto(self) -> Any:
        return v1.QuadraticForm(coefficient=to_array(self.coefficient), matrix=to_array(self.matrix))


@dataclasses.dataclass(frozen=True, eq=False)
class Reward:
    """r(s, a; x) = base + features theta + quadratic form + the mean of the transition rewards.

    That mean is sum_s2 P(s2|s,a) transition_rewards(s,a,s2), with P at x where Dynamics moves it: the gradient has the
    part through P, too.
    """

    base: Optional[npt.ArrayLike] = None  # [S, A]
    features: Any = None  # [S, A, n], or sparse with rows s * A + a: [S * A, n]
    quadratic: Optional[QuadraticForm] = None
    transition_rewards: Optional[npt.ArrayLike] = None  # one for each stored transition, or [S, A, S]

    def to_proto(self) -> Any:
        message = v1.Reward()
        if self.base is not None:
            message.base.CopyFrom(to_array(self.base))
        if self.features is not None:
            message.features.CopyFrom(matrix_to_proto(self.features))
        if self.quadratic is not None:
            message.quadratic.CopyFrom(self.quadratic.to_proto())
        if self.transition_rewards is not None:
            message.transition_rewards.CopyFrom(to_array(self.transition_rewards))
        return message

    @staticmethod
    def from_proto(message: Any, num_states: int, num_actions: int) -> "Reward":
        pair = (num_states, num_actions) if num_states else None
        quadratic = None
        if message.HasField("quadratic"):
            matrix = from_array(message.quadratic.matrix)
            n = int(round(np.sqrt(matrix.size)))
            quadratic = QuadraticForm(from_array(message.quadratic.coefficient, pair), matrix.reshape(n, n))
        features = None
        if message.HasField("features"):
            features = matrix_from_proto(message.features)
            if not is_sparse(features) and features.ndim == 1 and pair is not None:
                features = features.reshape(*pair, -1)
        return Reward(
            base=from_array(message.base, pair) if message.HasField("base") else None,
            features=features,
            quadratic=quadratic,
            transition_rewards=from_array(message.transition_rewards)
            if message.HasField("transition_rewards")
            else None,
        )

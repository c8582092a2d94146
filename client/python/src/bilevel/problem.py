"""Problems as data classes over NumPy arrays.

Arrays have the shapes of problem.proto, which documents every field, range and default: S states, A actions, n
parameters. Problems are immutable and translated to the wire once; make a changed copy with dataclasses.replace.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from bilevel import _json, v1
from bilevel.arrays import from_array, to_array
from bilevel.mdp import Mdp, is_sparse, matrix_from_proto, matrix_to_proto

Map = Literal["identity", "sigmoid", "softmax", "exp", "tanh"]


@dataclasses.dataclass(frozen=True, eq=False)
class QuadraticForm:
    """coefficient(s, a) * x^T matrix x."""

    coefficient: npt.ArrayLike  # [S, A]
    matrix: npt.ArrayLike  # [n, n]

    def to_proto(self) -> Any:
        return v1.QuadraticForm(coefficient=to_array(self.coefficient), matrix=to_array(self.matrix))


@dataclasses.dataclass(frozen=True, eq=False)
class Reward:
    """r(s, a; x) = base + features theta + quadratic form; transition rewards are folded into base."""

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
        pair = (num_states, num_actions)
        quadratic = None
        if message.HasField("quadratic"):
            matrix = from_array(message.quadratic.matrix)
            n = int(round(np.sqrt(matrix.size)))
            quadratic = QuadraticForm(from_array(message.quadratic.coefficient, pair), matrix.reshape(n, n))
        features = None
        if message.HasField("features"):
            features = matrix_from_proto(message.features)
            if not is_sparse(features) and features.ndim == 1:
                features = features.reshape(*pair, -1)
        return Reward(
            base=from_array(message.base, pair) if message.HasField("base") else None,
            features=features,
            quadratic=quadratic,
            transition_rewards=from_array(message.transition_rewards)
            if message.HasField("transition_rewards")
            else None,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LeaderReturn:
    """The leader's expected discounted return under the follower's policy."""

    reward: Reward
    weight: float = 1.0
    discount: Optional[float] = None  # default: the context's
    initial_distribution: Optional[npt.ArrayLike] = None  # [S]; default: the environment's

    def to_proto(self) -> Any:
        term = v1.LeaderReturn(reward=self.reward.to_proto(), discount=self.discount)
        if self.initial_distribution is not None:
            term.initial_distribution.CopyFrom(to_array(self.initial_distribution))
        return v1.ObjectiveTerm(weight=self.weight, leader_return=term)


@dataclasses.dataclass(frozen=True, eq=False)
class SeparableQuadratic:
    """1/2 sum_s state_weights(s) |pi(.|s) - target(s, .)|^2."""

    target: Optional[npt.ArrayLike] = None  # [S, A]; default: zeros
    state_weights: Optional[npt.ArrayLike] = None  # [S]; default: ones
    weight: float = 1.0

    def to_proto(self) -> Any:
        term = v1.SeparableQuadratic()
        if self.target is not None:
            term.target.CopyFrom(to_array(self.target))
        if self.state_weights is not None:
            term.state_weights.CopyFrom(to_array(self.state_weights))
        return v1.ObjectiveTerm(weight=self.weight, separable_quadratic=term)


ObjectiveTerm = Union[LeaderReturn, SeparableQuadratic]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """One follower: where it lives, what it is paid, and what the leader wants of it."""

    mdp: Mdp
    discount: float  # gamma in [0, 1)
    temperature: float  # tau > 0, weight of the entropy bonus
    reward: Reward = Reward()
    objective: Sequence[ObjectiveTerm] = ()
    weight: float = 1.0
    label: str = ""

    def to_proto(self) -> Any:
        return v1.Context(
            environment=self.mdp.to_proto(),
            discount=self.discount,
            temperature=self.temperature,
            reward=self.reward.to_proto(),
            objective=[term.to_proto() for term in self.objective],
            weight=self.weight,
            label=self.label,
        )


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """theta = scale * map(x) for `size` parameters in a row."""

    map: Map
    size: int
    scale: float = 1.0

    def to_proto(self) -> Any:
        name = f"MAP_{self.map.upper()}"
        if name not in v1.ParameterGroup.Map.keys():
            raise ValueError(f"map is {self.map!r}; must be identity, sigmoid, softmax, exp or tanh")
        return v1.ParameterGroup(size=self.size, map=v1.ParameterGroup.Map.Value(name), scale=self.scale)


@dataclasses.dataclass(frozen=True)
class SquaredL2:
    """weight / 2 * |x|_2^2, a cost."""

    weight: float = 1.0

    def to_proto(self) -> Any:
        return v1.Penalty(kind=v1.Penalty.KIND_SQUARED_L2, weight=self.weight)


@dataclasses.dataclass(frozen=True)
class L1:
    """weight * |x|_1, a cost; part of the objective, not of the gradient."""

    weight: float = 1.0

    def to_proto(self) -> Any:
        return v1.Penalty(kind=v1.Penalty.KIND_L1, weight=self.weight)


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """lower <= x <= upper for `size` parameters; bounds are numbers or [size]."""

    size: int
    lower: Optional[npt.ArrayLike] = None
    upper: Optional[npt.ArrayLike] = None

    def to_proto(self) -> Any:
        box = v1.Box()
        if self.lower is not None:
            box.lower.CopyFrom(to_array(np.atleast_1d(np.asarray(self.lower, dtype=np.float64))))
        if self.upper is not None:
            box.upper.CopyFrom(to_array(np.atleast_1d(np.asarray(self.upper, dtype=np.float64))))
        return v1.FeasibleBlock(size=self.size, box=box)


@dataclasses.dataclass(frozen=True)
class Simplex:
    """x >= 0 that sum to `total`, for `size` parameters."""

    size: int
    total: float = 1.0

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=self.size, simplex=v1.Simplex(total=self.total))


@dataclasses.dataclass(frozen=True, eq=False)
class Ball:
    """|x - center|_2 <= radius for `size` parameters; the center is a number or [size], by default 0."""

    size: int
    center: Optional[npt.ArrayLike] = None
    radius: float = 1.0

    def to_proto(self) -> Any:
        ball = v1.Ball(radius=self.radius)
        if self.center is not None:
            ball.center.CopyFrom(to_array(np.atleast_1d(np.asarray(self.center, dtype=np.float64))))
        return v1.FeasibleBlock(size=self.size, ball=ball)


@dataclasses.dataclass(frozen=True)
class Budget:
    """x >= 0 that sum to at most `total`, for `size` parameters."""

    size: int
    total: float = 1.0

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=self.size, budget=v1.Budget(total=self.total))


@dataclasses.dataclass(frozen=True)
class Unconstrained:
    """`size` parameters without constraints, to fill up a feasible set."""

    size: int

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=self.size)


FeasibleBlock = Union[Box, Simplex, Ball, Budget, Unconstrained]


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A bilevel problem: followers in contexts, the leader's parameters, constraints and sense."""

    contexts: Sequence[Context]
    num_parameters: int = 0
    parameter_groups: Sequence[ParameterGroup] = ()  # default: theta = x
    penalties: Sequence[Union[SquaredL2, L1]] = ()
    feasible_set: Sequence[FeasibleBlock] = ()
    sense: Literal["minimize", "maximize"] = "minimize"
    aggregation: Literal["weighted_sum", "worst_case"] = "weighted_sum"

    @functools.cached_property
    def _message(self) -> Any:
        if self.sense not in ("minimize", "maximize"):
            raise ValueError(f"sense is {self.sense!r}; must be minimize or maximize")
        if self.aggregation not in ("weighted_sum", "worst_case"):
            raise ValueError(f"aggregation is {self.aggregation!r}; must be weighted_sum or worst_case")
        return v1.Problem(
            num_parameters=self.num_parameters,
            parameter_groups=[group.to_proto() for group in self.parameter_groups],
            contexts=[context.to_proto() for context in self.contexts],
            penalties=[penalty.to_proto() for penalty in self.penalties],
            feasible_set=[block.to_proto() for block in self.feasible_set],
            sense=v1.SENSE_MAXIMIZE if self.sense == "maximize" else v1.SENSE_MINIMIZE,
            aggregation=(
                v1.AGGREGATION_WORST_CASE if self.aggregation == "worst_case" else v1.AGGREGATION_WEIGHTED_SUM
            ),
        )

    def to_proto(self) -> Any:
        """The message on the wire; not to be changed."""
        return self._message

    @functools.cached_property
    def _wire_field(self) -> bytes:
        return bytes(v1.SolveLowerLevelRequest(problem=self._message).SerializeToString())

    def to_wire_field(self) -> bytes:
        """The serialised field `problem`, which has the same number in every request."""
        return self._wire_field

    def to_json(self) -> str:
        """The text that `bilevel example` prints and every command of `bilevel` reads."""
        return _json.to_json(self._message)

    @staticmethod
    def from_json(text: str) -> "Problem":
        """Reads what to_json or the command line wrote, or a person. ValueError when it is no problem."""
        return Problem.from_proto(_json.from_json(text, v1.Problem()))

    @staticmethod
    def from_proto(message: Any) -> "Problem":
        """Reads a bilevel.v1.Problem, which is also what to_proto then returns."""
        problem = Problem(
            contexts=[_context(context) for context in message.contexts],
            num_parameters=message.num_parameters,
            parameter_groups=[
                ParameterGroup(
                    map=v1.ParameterGroup.Map.Name(group.map)[len("MAP_") :].lower(),
                    size=group.size,
                    scale=group.scale if group.HasField("scale") else 1.0,
                )
                for group in message.parameter_groups
            ],
            penalties=[_penalty(penalty) for penalty in message.penalties],
            feasible_set=[_block(block) for block in message.feasible_set],
            sense="maximize" if message.sense == v1.SENSE_MAXIMIZE else "minimize",
            aggregation="worst_case" if message.aggregation == v1.AGGREGATION_WORST_CASE else "weighted_sum",
        )
        # What was left out stays out, for the server to judge.
        problem.__dict__["_message"] = message
        return problem


def _penalty(message: Any) -> Union[SquaredL2, L1]:
    weight = message.weight if message.HasField("weight") else 1.0
    return L1(weight) if message.kind == v1.Penalty.KIND_L1 else SquaredL2(weight)


def _block(message: Any) -> FeasibleBlock:
    kind = message.WhichOneof("set")
    if kind == "simplex":
        return Simplex(message.size, message.simplex.total if message.simplex.HasField("total") else 1.0)
    if kind == "box":
        box = message.box
        return Box(
            message.size,
            from_array(box.lower) if box.HasField("lower") else None,
            from_array(box.upper) if box.HasField("upper") else None,
        )
    if kind == "ball":
        ball = message.ball
        center = from_array(ball.center) if ball.HasField("center") else None
        return Ball(message.size, center, ball.radius if ball.HasField("radius") else 1.0)
    if kind == "budget":
        return Budget(message.size, message.budget.total if message.budget.HasField("total") else 1.0)
    return Unconstrained(message.size)


def _term(message: Any, num_states: int, num_actions: int) -> ObjectiveTerm:
    weight = message.weight if message.HasField("weight") else 1.0
    if message.WhichOneof("term") == "separable_quadratic":
        term = message.separable_quadratic
        return SeparableQuadratic(
            from_array(term.target, (num_states, num_actions)) if term.HasField("target") else None,
            from_array(term.state_weights) if term.HasField("state_weights") else None,
            weight,
        )
    term = message.leader_return
    return LeaderReturn(
        reward=Reward.from_proto(term.reward, num_states, num_actions),
        weight=weight,
        discount=term.discount if term.HasField("discount") else None,
        initial_distribution=from_array(term.initial_distribution) if term.HasField("initial_distribution") else None,
    )


def _context(message: Any) -> Context:
    mdp = Mdp.from_proto(message.environment)
    pair = (mdp.num_states, mdp.num_actions)
    return Context(
        mdp=mdp,
        discount=message.discount if message.HasField("discount") else float("nan"),
        temperature=message.temperature if message.HasField("temperature") else float("nan"),
        reward=Reward.from_proto(message.reward, *pair),
        objective=[_term(term, *pair) for term in message.objective],
        weight=message.weight if message.HasField("weight") else 1.0,
        label=message.label,
    )

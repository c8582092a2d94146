"""Problems as data classes over NumPy arrays.

Arrays have the shapes of problem.proto, which documents every field, range and default: S states, A actions, n
parameters. Problems are immutable and translated to the wire once; make a changed copy with dataclasses.replace.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from typing import Any, List, Literal, Optional, Sequence, Tuple, Union, get_args

import numpy as np
import numpy.typing as npt

from bilevel import _json, v1
from bilevel.arrays import from_array, to_array
from bilevel.mdp import Mdp, is_sparse, matrix_from_proto, matrix_to_proto
from bilevel.reward import Reward
from bilevel.terms import ObjectiveTerm, term_from_proto

Map = Literal["identity", "sigmoid", "softmax", "exp", "tanh"]


def _size(size: Any) -> int:
    if isinstance(size, (int, np.integer)):
        return int(size)
    raise TypeError(f"size is {reprlib.repr(size)}; must be a whole number, how many parameters in a row are meant")


def _messages(name: str, parts: Any, kinds: Tuple[type, ...]) -> List[Any]:
    """The messages of a list whose parts must be of these classes."""
    for i, part in enumerate(parts):
        if not isinstance(part, kinds):
            rule = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name}[{i}] is {reprlib.repr(part)}; must be a {rule}")
    return [part.to_proto() for part in parts]


@dataclasses.dataclass(frozen=True, eq=False)
class Dynamics:
    """An environment that moves with theta in softmax groups: P = transition_features theta, rho = initial_features theta.

    Rows (s, a) whose features are all 0 stay as the Mdp has them.
    """

    # [S, A, S, n] with dense transitions; else [stored transitions, n], in the order of the Mdp's Csr. Each of them dense,
    # or sparse with as many rows as there are stored transitions.
    transition_features: Any = None
    initial_features: Any = None  # [S, n], or sparse

    @staticmethod
    def mixture(transitions: Sequence[npt.ArrayLike], num_parameters: int, first: int = 0) -> "Dynamics":
        """P = sum_j theta[first + j] * transitions[j], each [S, A, S]; for an Mdp with dense transitions.

        Set rows of every transitions[j] to 0 to leave them as the Mdp has them.
        """
        stacked = np.stack([np.asarray(each, dtype=np.float64) for each in transitions], axis=-1)
        features = np.zeros((*stacked.shape[:-1], num_parameters))
        features[..., first : first + stacked.shape[-1]] = stacked
        return Dynamics(transition_features=features)

    def to_proto(self) -> Any:
        message = v1.Dynamics()
        if self.transition_features is not None:
            message.transition_features.CopyFrom(matrix_to_proto(self.transition_features))
        if self.initial_features is not None:
            message.initial_features.CopyFrom(matrix_to_proto(self.initial_features))
        return message


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """One follower: where it lives, what it is paid, and what the leader wants of it."""

    mdp: Mdp
    discount: float  # gamma in [0, 1)
    temperature: float  # tau in [1e-12, 1e12], weight of the entropy bonus
    reward: Reward = Reward()
    objective: Sequence[ObjectiveTerm] = ()
    weight: float = 1.0
    label: str = ""
    dynamics: Optional[Dynamics] = None  # default: the environment does not depend on x

    def to_proto(self) -> Any:
        return v1.Context(
            environment=None if self.mdp.name else self.mdp.to_proto(),
            environment_name=self.mdp.name or None,
            discount=self.discount,
            temperature=self.temperature,
            reward=self.reward.to_proto(),
            objective=_messages("objective", self.objective, get_args(ObjectiveTerm)),
            weight=self.weight,
            label=self.label,
            dynamics=self.dynamics.to_proto() if self.dynamics is not None else None,
        )


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """theta = scale * map(x) for `size` parameters in a row."""

    map: Map
    size: int
    scale: float = 1.0

    def to_proto(self) -> Any:
        if not isinstance(self.map, str):
            raise TypeError(f"map is {self.map!r}; must be a name, such as 'softmax', and stand before the size")
        name = f"MAP_{self.map.upper()}"
        if name not in v1.ParameterGroup.Map.keys():
            raise ValueError(f"map is {self.map!r}; must be identity, sigmoid, softmax, exp or tanh")
        return v1.ParameterGroup(size=_size(self.size), map=v1.ParameterGroup.Map.Value(name), scale=self.scale)


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
        return v1.FeasibleBlock(size=_size(self.size), box=box)


@dataclasses.dataclass(frozen=True)
class Simplex:
    """x >= 0 that sum to `total`, for `size` parameters."""

    size: int
    total: float = 1.0

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=_size(self.size), simplex=v1.Simplex(total=self.total))


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
        return v1.FeasibleBlock(size=_size(self.size), ball=ball)


@dataclasses.dataclass(frozen=True)
class Budget:
    """x >= 0 that sum to at most `total`, for `size` parameters."""

    size: int
    total: float = 1.0

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=_size(self.size), budget=v1.Budget(total=self.total))


@dataclasses.dataclass(frozen=True)
class Unconstrained:
    """`size` parameters without constraints, to fill up a feasible set."""

    size: int

    def to_proto(self) -> Any:
        return v1.FeasibleBlock(size=_size(self.size))


FeasibleBlock = Union[Box, Simplex, Ball, Budget, Unconstrained]

_SENSES = {None: v1.SENSE_UNSPECIFIED, "minimize": v1.SENSE_MINIMIZE, "maximize": v1.SENSE_MAXIMIZE}


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A bilevel problem: followers in contexts, the leader's parameters, constraints and sense."""

    contexts: Sequence[Context]
    num_parameters: int = 0
    parameter_groups: Sequence[ParameterGroup] = ()  # default: theta = x
    penalties: Sequence[Union[SquaredL2, L1]] = ()
    feasible_set: Sequence[FeasibleBlock] = ()
    sense: Optional[Literal["minimize", "maximize"]] = None  # required wherever an objective is evaluated
    aggregation: Literal["weighted_sum", "worst_case"] = "weighted_sum"

    @functools.cached_property
    def _message(self) -> Any:
        if self.sense not in (None, "minimize", "maximize"):
            raise ValueError(f"sense is {self.sense!r}; must be minimize or maximize")
        if self.aggregation not in ("weighted_sum", "worst_case"):
            raise ValueError(f"aggregation is {self.aggregation!r}; must be weighted_sum or worst_case")
        return v1.Problem(
            num_parameters=self.num_parameters,
            parameter_groups=_messages("parameter_groups", self.parameter_groups, (ParameterGroup,)),
            contexts=_messages("contexts", self.contexts, (Context,)),
            penalties=_messages("penalties", self.penalties, (SquaredL2, L1)),
            feasible_set=_messages("feasible_set", self.feasible_set, get_args(FeasibleBlock)),
            sense=_SENSES[self.sense],
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
            sense={number: name for name, number in _SENSES.items()}.get(message.sense),
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


def _dynamics(message: Any, num_states: int, num_actions: int) -> Dynamics:
    def features(name: str, *shape: int) -> Any:
        if not message.HasField(name):
            return None
        matrix = matrix_from_proto(getattr(message, name))
        return matrix if is_sparse(matrix) or matrix.ndim > 1 or 0 in shape else matrix.reshape(*shape, -1)

    return Dynamics(
        features("transition_features", num_states, num_actions, num_states), features("initial_features", num_states)
    )


def _context(message: Any) -> Context:
    # Of what is only named, sizes are not known, and arrays without shapes stay flat.
    mdp = Mdp(name=message.environment_name) if message.environment_name else Mdp.from_proto(message.environment)
    pair = (mdp.num_states, mdp.num_actions)
    return Context(
        mdp=mdp,
        discount=message.discount if message.HasField("discount") else float("nan"),
        temperature=message.temperature if message.HasField("temperature") else float("nan"),
        reward=Reward.from_proto(message.reward, *pair),
        objective=[term_from_proto(term, *pair) for term in message.objective],
        weight=message.weight if message.HasField("weight") else 1.0,
        label=message.label,
        dynamics=_dynamics(message.dynamics, *pair) if message.HasField("dynamics") else None,
    )

"""Hyper-gradients from samples: how they are estimated, and how far they may be off. estimate.proto says it in full."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any, Literal, Optional, Tuple

import numpy as np

from bilevel import v1
from bilevel.arrays import FloatArray, from_array
from bilevel.solution import Hypergradient

EstimatorName = Literal[
    "plug_in",
    "return",
    "reward_to_go",
    "critic",
    "one_step",
    "zeroth_order",
    "preference_fit",
    "preference",
    "preference_excess_risk",
]


def enum_value(field: str, name: str, prefix: str, kinds: Any) -> Any:
    """The member `prefix` + NAME of an enum of bilevel.v1, by its name in small letters."""
    names = [member[len(prefix) :].lower() for member in kinds.__members__ if not member.endswith("_UNSPECIFIED")]
    if name not in names:
        raise ValueError(f"{field} is {name!r}; must be {', '.join(names[:-1])} or {names[-1]}")
    return kinds[prefix + name.upper()]


@dataclasses.dataclass(frozen=True)
class Estimator:
    """How a hyper-gradient is estimated; None means the server's default.

    name: plug_in, exact on the model that the transitions estimate; return, reward_to_go, critic and one_step, from
    recorded trajectories; zeroth_order, by differences on the estimated model; preference_fit, preference and
    preference_excess_risk, from the session's preferences in place of the problem's objective. critic: "model",
    "learned" or "continuations", which an actor with walks makes possible. baseline: "default", "none" or "model".
    redraws: models redrawn for the standard errors of plug_in, directions of zeroth_order. radius: length of
    zeroth_order's differences.
    """

    name: EstimatorName = "plug_in"
    critic: Literal["model", "learned", "continuations"] = "model"
    baseline: Literal["default", "none", "model"] = "default"
    redraws: Optional[int] = None
    radius: Optional[float] = None
    seed: int = 0

    def to_proto(self) -> Any:
        return v1.EstimatorOptions(
            estimator=enum_value("estimator", self.name, "ESTIMATOR_", v1.Estimator),
            critic=enum_value("critic", self.critic, "CRITIC_", v1.Critic),
            baseline=0
            if self.baseline == "default"
            else enum_value("baseline", self.baseline, "BASELINE_", v1.Baseline),
            redraws=self.redraws,
            radius=self.radius,
            seed=self.seed,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class HypergradientEstimate:
    """A gradient with error bars. They cover chance alone: bias stands apart, `assumptions` say what neither covers."""

    estimator: str
    gradient: FloatArray  # [n]
    standard_error: Optional[FloatArray]  # [n]; None without redraws
    bias: Optional[FloatArray]  # [n]: the gradient less this is nearer the truth on average; None without redraws
    exploitation: Optional[FloatArray]  # [n]: what x does along the trajectories, or to the pairs; of those alone
    exploration: Optional[FloatArray]  # [n]: what x does by moving the follower's policy
    objective: float
    objective_standard_error: float
    objective_bias: float
    effective_sample_size: float
    trajectories: int  # used; of preferences, pairs
    transitions: int  # used; of preferences, their fragments' steps
    trajectories_left_out: int
    unseen_rows: int  # available (s, a) never seen: there the prior stands
    parameters_version: int  # 0: the request's own x
    assumptions: Tuple[str, ...]
    seed: int
    on_model: Optional[Hypergradient] = None  # of plug_in: certified, about the estimated model alone

    def interval(self, level: float = 0.95) -> Tuple[FloatArray, FloatArray]:
        """Lower and upper ends, [n] each, that hold the truth with this probability as far as chance alone goes."""
        if self.standard_error is None:
            raise ValueError("the estimate has no standard errors; ask for redraws")
        half = _quantile(level) * self.standard_error
        return self.gradient - half, self.gradient + half

    def objective_interval(self, level: float = 0.95) -> Tuple[float, float]:
        """The same of the objective."""
        half = _quantile(level) * self.objective_standard_error
        return self.objective - half, self.objective + half

    @staticmethod
    def from_proto(message: Any, on_model: Any = None) -> "HypergradientEstimate":
        def optional(name: str) -> Optional[FloatArray]:
            return from_array(getattr(message, name)) if message.HasField(name) else None

        gradient = optional("gradient")
        return HypergradientEstimate(
            estimator=v1.Estimator(message.estimator).name[len("ESTIMATOR_") :].lower(),
            gradient=np.zeros(0) if gradient is None else gradient,
            standard_error=optional("standard_error"),
            bias=optional("bias"),
            exploitation=optional("exploitation"),
            exploration=optional("exploration"),
            objective=message.objective,
            objective_standard_error=message.objective_standard_error,
            objective_bias=message.objective_bias,
            effective_sample_size=message.effective_sample_size,
            trajectories=int(message.trajectories),
            transitions=int(message.transitions),
            trajectories_left_out=int(message.trajectories_left_out),
            unseen_rows=int(message.unseen_rows),
            parameters_version=int(message.parameters_version),
            assumptions=tuple(message.assumptions),
            seed=message.seed,
            on_model=None if on_model is None else Hypergradient.from_proto(on_model),
        )


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; must be in (0, 1)")
    return statistics.NormalDist().inv_cdf(0.5 + level / 2)

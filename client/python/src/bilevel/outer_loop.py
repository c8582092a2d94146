"""The outer loop of a session: the leader moves x by itself. outer_loop.proto says it in full.

    session = client.create_session(problem, outer_loop=bilevel.OuterLoop(gradient_tolerance=0.05))
    for step in session.steps():
        print(step.number, step.objective, step.gradient_norm)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Optional, Union

from bilevel import v1
from bilevel.arrays import FloatArray, from_array
from bilevel.estimate import Estimator, EstimatorName, HypergradientEstimate
from bilevel.learners import StepSchedule
from bilevel.solution import Termination


@dataclasses.dataclass(frozen=True)
class Sobirl:
    """x_{k+1} = Project(x_k - beta_k g_k), g_k an estimate at x_k; ascent when maximising. Yang, Gao, Yuan (2025)."""

    def fill(self, message: Any) -> None:
        message.sobirl.SetInParent()


@dataclasses.dataclass(frozen=True)
class StocSobirlStorm:
    """Recursive momentum h_k = g_k + (1 - eta_k) (h_{k-1} - g'_k) in place of g_k; None means the server's default.

    g'_k is made of g_k's own trajectories at x_{k-1}, so it needs an estimator from trajectories. The service's own
    design at the rates that Yang, Gao, Yuan (2025) publish for Stoc-SoBiRL. averaging: eta_k. weight_cap: trajectories'
    weights are cut to this, >= 1; OuterStep.weight_bias says what that costs.
    """

    averaging: Optional[StepSchedule] = None
    weight_cap: Optional[float] = None

    def fill(self, message: Any) -> None:
        averaging = None if self.averaging is None else self.averaging.to_proto()
        message.stoc_sobirl_storm.CopyFrom(v1.StocSobirlStorm(averaging=averaging, weight_cap=self.weight_cap))


OuterMethod = Union[Sobirl, StocSobirlStorm]
OuterMethodName = Literal["sobirl", "stoc_sobirl_storm"]

_METHODS = {"sobirl": Sobirl, "stoc_sobirl_storm": StocSobirlStorm}


def outer_method_named(method: Union[OuterMethod, OuterMethodName]) -> OuterMethod:
    """A method of the outer loop by its name or as itself."""
    if isinstance(method, tuple(_METHODS.values())):
        return method  # type: ignore[return-value]
    if isinstance(method, str) and method in _METHODS:
        return _METHODS[method]()  # type: ignore[no-any-return]
    rule = f"must be {' or '.join(_METHODS)}, or an instance of their classes, such as StocSobirlStorm()"
    raise (ValueError if isinstance(method, str) else TypeError)(f"method is {method!r}; {rule}")


@dataclasses.dataclass(frozen=True)
class OuterLoop:
    """How the leader moves; None means the server's default.

    method: Sobirl or StocSobirlStorm, as itself or by name. estimator: of hyper-gradients; step k draws with its seed + k,
    and without error bars (redraws=0) the loop never converges. first_step: length of the longest step, in units of x;
    steps then fall like k^-1/2 (sobirl) or k^-1/3 where noise dominates and stay where there is none. steps: the step
    sizes beta_k instead; first up to 1e12. gradient_tolerance: stops when the norm of the projected gradient map +
    confidence * its standard error is at most that; chance alone is in it, an estimator's bias is not. max_steps: stops
    after so many. lower_level_tolerance: no step while the follower's estimated Bellman residual is above, for soft_q and
    observed learners. subtract_bias: whether the estimator's own estimate of its bias is taken off. on_request: steps are
    taken by Session.step alone; else one with each policy, where it does not have to wait.
    """

    method: Union[OuterMethod, OuterMethodName] = "sobirl"
    estimator: Union[Estimator, EstimatorName] = "plug_in"
    first_step: Optional[float] = None
    steps: Optional[StepSchedule] = None
    gradient_tolerance: Optional[float] = None
    confidence: Optional[float] = None
    max_steps: Optional[int] = None
    lower_level_tolerance: Optional[float] = None
    subtract_bias: bool = False
    on_request: bool = False

    def to_proto(self) -> Any:
        estimator = self.estimator if isinstance(self.estimator, Estimator) else Estimator(self.estimator)
        message = v1.OuterLoop(
            estimator=estimator.to_proto(),
            first_step=self.first_step,
            steps=None if self.steps is None else self.steps.to_proto(),
            gradient_tolerance=self.gradient_tolerance,
            confidence=self.confidence,
            max_steps=self.max_steps,
            lower_level_tolerance=self.lower_level_tolerance,
            subtract_bias=self.subtract_bias,
            on_request=self.on_request,
        )
        outer_method_named(self.method).fill(message)
        return message


def outer_loop_message(outer_loop: Union[OuterLoop, OuterMethodName, None]) -> Any:
    """A v1.OuterLoop of an OuterLoop or of a method's name; None of None."""
    if outer_loop is None:
        return None
    return (outer_loop if isinstance(outer_loop, OuterLoop) else OuterLoop(outer_loop)).to_proto()


def _optional(message: Any, name: str) -> Optional[FloatArray]:
    return from_array(getattr(message, name)) if message.HasField(name) else None


@dataclasses.dataclass(frozen=True, eq=False)
class OuterStep:
    """A step that was taken: from x_k, by what was known there. Vectors above 1000 entries are None."""

    number: int  # 1, 2, ... in this session; of OuterLoopStatus.best 0
    iteration: int  # k: the same, counted since set_parameters last set x
    merged: int  # transitions learned from by then; of OuterLoopStatus.best 0
    parameters_version: int  # of x_k; the next is where the step led, unless the loop stopped here; of best 0
    parameters: Optional[FloatArray]  # x_k, [n]
    direction: Optional[FloatArray]  # h_k, [n]: g_k, with momentum in stoc_sobirl_storm; the L1 penalty left out
    step_size: float  # beta_k
    averaging: float  # eta_k; 1 for sobirl
    objective: float  # estimate of phi(x_k)
    objective_standard_error: float
    gradient_norm: float  # of the projected gradient map of h_k
    gradient_norm_error: float  # |standard error of h_k|_2; infinite where it is not known
    lower_level_residual: float  # the follower's estimated Bellman residual at x_k; 0 for plug_in
    estimate: Optional[HypergradientEstimate]  # g_k with its parts and error bars
    weight_sample_size: float  # of stoc_sobirl_storm: trajectories of equal weight that g'_k rests on
    capped_share: float  # of trajectories whose weight was cut
    weight_bias: Optional[FloatArray]  # what the cut costs g'_k, as estimated, [n]; None without a cut

    @staticmethod
    def from_proto(message: Any) -> "OuterStep":
        return OuterStep(
            number=int(message.number),
            iteration=int(message.iteration),
            merged=int(message.merged),
            parameters_version=int(message.parameters_version),
            parameters=_optional(message, "parameters"),
            direction=_optional(message, "direction"),
            step_size=message.step_size,
            averaging=message.averaging,
            objective=message.objective,
            objective_standard_error=message.objective_standard_error,
            gradient_norm=message.gradient_norm,
            gradient_norm_error=message.gradient_norm_error,
            lower_level_residual=message.lower_level_residual,
            estimate=HypergradientEstimate.from_proto(message.estimate) if message.HasField("estimate") else None,
            weight_sample_size=message.weight_sample_size,
            capped_share=message.capped_share,
            weight_bias=_optional(message, "weight_bias"),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class OuterLoopStatus:
    """How far an outer loop is."""

    steps: int  # the number of the last one
    last: Optional[OuterStep]
    best: Optional[OuterStep]  # of the later half of the steps; objective + confidence * standard error (-, maximising)
    termination: Optional[Termination]  # why no step will follow, unless x is set; None while one may
    waiting: str  # why there is no step yet, or the last attempt was none: what it waits for; else empty

    @staticmethod
    def from_proto(message: Any) -> "OuterLoopStatus":
        return OuterLoopStatus(
            steps=int(message.steps),
            last=OuterStep.from_proto(message.last) if message.HasField("last") else None,
            best=OuterStep.from_proto(message.best) if message.HasField("best") else None,
            termination=Termination.from_proto(message.termination) if message.HasField("termination") else None,
            waiting=message.waiting,
        )

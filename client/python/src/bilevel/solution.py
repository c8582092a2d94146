"""What comes back: NumPy arrays, why it stopped, and how good it is. solution.proto documents every field."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from bilevel import v1
from bilevel.arrays import FloatArray, from_array, to_array
from bilevel.errors import FieldViolation

Reason = Literal["CONVERGED", "ITERATION_LIMIT", "TIME_LIMIT", "EVALUATION_LIMIT", "CANCELLED", "DIVERGED"]


@dataclasses.dataclass(frozen=True)
class Termination:
    """Why it stopped. Reaching a limit is an outcome, not an error."""

    reason: Reason
    detail: str

    @property
    def converged(self) -> bool:
        """Whether the tolerance asked for was met."""
        return self.reason == "CONVERGED"

    @staticmethod
    def from_proto(message: Any) -> "Termination":
        return Termination(v1.Termination.Reason.Name(message.reason)[len("REASON_") :], message.detail)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """How good a gradient is; "true" means at the exact soft-optimal policy."""

    backward_error: float  # largest |V - T V|_inf over contexts
    adjoint_backward_error: float
    error_estimate: float  # of |gradient - true gradient|_2; no bound
    error_bound: float  # >= |gradient - true gradient|_2, proven
    objective_error_bound: float  # >= |objective - true objective|, proven

    @staticmethod
    def from_proto(message: Any) -> "Certificate":
        return Certificate(*(getattr(message, field.name) for field in dataclasses.fields(Certificate)))


@dataclasses.dataclass(frozen=True)
class LowerLevelCertificate:
    """How well a lower level is solved."""

    backward_error: float  # |V - T V|_inf
    value_error_bound: float  # >= |V - V*|_inf, proven
    log_policy_error_bound: float  # >= max |log policy - log policy*|, proven

    @staticmethod
    def from_proto(message: Any) -> "LowerLevelCertificate":
        return LowerLevelCertificate(message.backward_error, message.value_error_bound, message.log_policy_error_bound)


@dataclasses.dataclass(frozen=True, eq=False)
class LowerLevelSolution:
    """The follower's answer in one context; arrays that were not asked for are None."""

    value: Optional[FloatArray]  # V, [S]
    policy: Optional[FloatArray]  # pi, [S, A]
    q: Optional[FloatArray]  # [S, A]; NaN where the action is not available
    log_policy: Optional[FloatArray]  # [S, A]
    reward: Optional[FloatArray]  # r(s, a; x), [S, A]
    incentive: Optional[FloatArray]  # what x adds to it, [S, A]
    method: str  # sweeps, newton_direct, newton_krylov
    sweeps: int
    certificate: LowerLevelCertificate
    termination: Termination
    label: str

    @staticmethod
    def from_proto(message: Any) -> "LowerLevelSolution":
        def optional(name: str) -> Optional[FloatArray]:
            return from_array(getattr(message, name)) if message.HasField(name) else None

        return LowerLevelSolution(
            value=optional("value"),
            policy=optional("policy"),
            q=optional("q"),
            log_policy=optional("log_policy"),
            reward=optional("reward"),
            incentive=optional("incentive"),
            method=v1.LowerLevelMethod(message.method).name[len("LOWER_LEVEL_METHOD_") :].lower(),
            sweeps=message.sweeps,
            certificate=LowerLevelCertificate.from_proto(message.certificate),
            termination=Termination.from_proto(message.termination),
            label=message.label,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class WarmStart:
    """Where the inner solves of a nearby request may start: one value and adjoint for each context."""

    values: Sequence[npt.ArrayLike]
    adjoints: Sequence[npt.ArrayLike] = ()

    def to_proto(self) -> Any:
        message = v1.WarmStart()
        for c, value in enumerate(self.values):
            context = message.contexts.add(value=to_array(value))
            if c < len(self.adjoints):
                context.adjoint.CopyFrom(to_array(self.adjoints[c]))
        return message

    @staticmethod
    def from_proto(message: Any) -> "WarmStart":
        return WarmStart(
            [from_array(context.value) for context in message.contexts],
            [from_array(context.adjoint) for context in message.contexts],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class QuasiNewtonState:
    """Where a QuasiNewton run stood, beside its x; the next one continues from it."""

    steps: npt.ArrayLike  # [k, n], oldest first
    gradient_changes: npt.ArrayLike  # [k, n], of the gradient of what is minimised

    def to_proto(self) -> Any:
        return v1.QuasiNewtonState(steps=to_array(self.steps), gradient_changes=to_array(self.gradient_changes))

    @staticmethod
    def from_proto(message: Any) -> "QuasiNewtonState":
        return QuasiNewtonState(from_array(message.steps), from_array(message.gradient_changes))


@dataclasses.dataclass(frozen=True, eq=False)
class Hypergradient:
    """Objective and hyper-gradient at one x."""

    parameters: FloatArray  # x, [n]
    objective: float
    gradient: FloatArray  # [n]
    gradient_norm: float  # of the projected gradient map at unit step
    certificate: Certificate
    termination: Termination
    context_objectives: Tuple[float, ...]
    multipliers: Tuple[float, ...]  # worst case: each context's share in the gradient; else empty
    contexts: Tuple[LowerLevelSolution, ...]
    warm_start: Optional[WarmStart]

    @staticmethod
    def from_proto(message: Any) -> "Hypergradient":
        return Hypergradient(
            parameters=from_array(message.parameters),
            objective=message.objective,
            gradient=from_array(message.gradient),
            gradient_norm=message.gradient_norm,
            certificate=Certificate.from_proto(message.certificate),
            termination=Termination.from_proto(message.termination),
            context_objectives=tuple(message.context_objectives),
            multipliers=tuple(message.multipliers),
            contexts=tuple(LowerLevelSolution.from_proto(context) for context in message.contexts),
            warm_start=WarmStart.from_proto(message.warm_start) if message.HasField("warm_start") else None,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ContextGradient:
    """Gradients of sum(cotangent * output) for one context, each with a proven bound on its error."""

    reward: FloatArray  # [S, A]
    reward_error_bound: float
    transitions: Optional[FloatArray]  # for each stored entry: [S, A, S], or [entries] of sparse transitions
    transitions_error_bound: float
    discount: float
    discount_error_bound: float
    temperature: float
    temperature_error_bound: float

    @staticmethod
    def from_proto(message: Any) -> "ContextGradient":
        return ContextGradient(
            reward=from_array(message.reward),
            reward_error_bound=message.reward_error_bound,
            transitions=from_array(message.transitions) if message.HasField("transitions") else None,
            transitions_error_bound=message.transitions_error_bound,
            discount=message.discount,
            discount_error_bound=message.discount_error_bound,
            temperature=message.temperature,
            temperature_error_bound=message.temperature_error_bound,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Pullback:
    """The follower's answer, and the gradients when cotangents were sent."""

    contexts: Tuple[LowerLevelSolution, ...]
    gradients: Tuple[ContextGradient, ...]
    termination: Termination
    warm_start: Optional[WarmStart]

    @staticmethod
    def from_proto(message: Any) -> "Pullback":
        return Pullback(
            contexts=tuple(LowerLevelSolution.from_proto(context) for context in message.contexts),
            gradients=tuple(ContextGradient.from_proto(gradient) for gradient in message.gradients),
            termination=Termination.from_proto(message.termination),
            warm_start=WarmStart.from_proto(message.warm_start) if message.HasField("warm_start") else None,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class GradientCheck:
    """The hyper-gradient against central differences."""

    analytic: FloatArray  # [n], or [directions]
    numeric: FloatArray
    relative_error_l2: float
    worst_index: int
    point: Hypergradient
    termination: Termination

    @staticmethod
    def from_proto(message: Any) -> "GradientCheck":
        return GradientCheck(
            analytic=from_array(message.analytic),
            numeric=from_array(message.numeric),
            relative_error_l2=message.relative_error_l2,
            worst_index=message.worst_index,
            point=Hypergradient.from_proto(message.point),
            termination=Termination.from_proto(message.termination),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Progress:
    """One line of progress; numbers are NaN while the first evaluation lasts."""

    iteration: int
    evaluations: int
    objective: float
    gradient_norm: float
    best_objective: float
    best_parameters: FloatArray
    certificate: Optional[Certificate]

    @staticmethod
    def from_proto(message: Any) -> "Progress":
        return Progress(
            iteration=message.iteration,
            evaluations=message.evaluations,
            objective=message.objective,
            gradient_norm=message.gradient_norm,
            best_objective=message.best_objective,
            best_parameters=from_array(message.best_parameters),
            certificate=Certificate.from_proto(message.certificate) if message.HasField("certificate") else None,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """The iterations of a run; of more than 4096 every 2nd, 4th, ..."""

    iterations: npt.NDArray[np.int64]
    objective: FloatArray
    gradient_norm: FloatArray  # |h|
    error_bound: FloatArray  # of the exact hyper-gradient; infinite without certify_progress

    @staticmethod
    def from_proto(entries: Any) -> "History":
        return History(
            np.array([entry.iteration for entry in entries], dtype=np.int64),
            np.array([entry.objective for entry in entries], dtype=np.float64),
            np.array([entry.gradient_norm for entry in entries], dtype=np.float64),
            np.array([entry.error_bound for entry in entries], dtype=np.float64),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity:
    """How the optimum answers to one number of the problem, to first order."""

    objective: float
    parameters: Optional[FloatArray]  # dx*; None where it was not computed or is not determined

    @staticmethod
    def from_proto(message: Any) -> "Sensitivity":
        moves = from_array(message.parameters) if message.HasField("parameters") else None
        return Sensitivity(message.objective, moves)


@dataclasses.dataclass(frozen=True, eq=False)
class ContextSensitivities:
    """By the weight, discount and temperature of a context, and by the weights of its objective's terms."""

    weight: Sensitivity
    discount: Sensitivity
    temperature: Sensitivity
    term_weights: Tuple[Sensitivity, ...]

    @staticmethod
    def from_proto(message: Any) -> "ContextSensitivities":
        return ContextSensitivities(
            Sensitivity.from_proto(message.weight),
            Sensitivity.from_proto(message.discount),
            Sensitivity.from_proto(message.temperature),
            tuple(map(Sensitivity.from_proto, message.term_weights)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivities:
    """How the optimum answers to the numbers of the problem."""

    contexts: Tuple[ContextSensitivities, ...]
    group_scales: Tuple[Sensitivity, ...]  # of each parameter group: budgets of softmax groups
    limits: Tuple[Sensitivity, ...]  # of each feasible block: total or radius
    lower_bounds: FloatArray  # [n], of the objective
    upper_bounds: FloatArray
    squared_l2: Sensitivity
    l1: Sensitivity
    note: str  # what was left out, and why

    @staticmethod
    def from_proto(message: Any) -> "Sensitivities":
        return Sensitivities(
            tuple(map(ContextSensitivities.from_proto, message.contexts)),
            tuple(map(Sensitivity.from_proto, message.group_scales)),
            tuple(map(Sensitivity.from_proto, message.limits)),
            from_array(message.lower_bounds),
            from_array(message.upper_bounds),
            Sensitivity.from_proto(message.squared_l2),
            Sensitivity.from_proto(message.l1),
            message.note,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LocalOptimum:
    """A local optimum that a global search has met."""

    parameters: FloatArray
    objective: float
    gradient_norm: float
    hits: int  # descents that ended there

    @staticmethod
    def from_proto(message: Any) -> "LocalOptimum":
        return LocalOptimum(from_array(message.parameters), message.objective, message.gradient_norm, message.hits)


@dataclasses.dataclass(frozen=True, eq=False)
class Stationarity:
    """What kind of stationary point x is, by the curvature of what is minimised along its active face."""

    kind: Literal["OPTIMUM", "SADDLE", "FLAT", "NOT_STATIONARY", ""]  # "": not known
    gradient_norm: float
    face_dimension: int
    smallest_curvature: float
    largest_curvature: float
    curvature_tolerance: float
    direction: FloatArray  # of the smallest curvature, [n]; empty without products
    exact: bool  # of the whole face; a negative curvature proves a saddle anyway
    products: int

    @staticmethod
    def from_proto(message: Any) -> "Stationarity":
        name = v1.Stationarity.Kind.Name(message.kind)[len("KIND_") :]
        return Stationarity(
            kind="" if name == "UNSPECIFIED" else name,
            gradient_norm=message.gradient_norm,
            face_dimension=message.face_dimension,
            smallest_curvature=message.smallest_curvature,
            largest_curvature=message.largest_curvature,
            curvature_tolerance=message.curvature_tolerance,
            direction=from_array(message.direction) if message.HasField("direction") else np.zeros(0),
            exact=message.exact,
            products=message.products,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class OptimizeResult:
    """The best point found, certified."""

    best: Hypergradient
    termination: Termination
    iterations: int
    evaluations: int
    method: str
    seed: int
    notes: Tuple[str, ...]
    history: Optional[History]  # on request
    quasi_newton_state: Optional[QuasiNewtonState] = None  # of that method, with return_warm_start
    optima: Tuple[LocalOptimum, ...] = ()  # of portfolio, best first
    sensitivities: Optional[Sensitivities] = None  # on request
    hessian_products: int = 0  # of truncated_newton
    stationarity: Optional[Stationarity] = None  # on request

    @staticmethod
    def from_proto(message: Any) -> "OptimizeResult":
        return OptimizeResult(
            best=Hypergradient.from_proto(message.best),
            termination=Termination.from_proto(message.termination),
            iterations=message.iterations,
            evaluations=message.evaluations,
            method=message.method,
            seed=message.seed,
            notes=tuple(message.notes),
            history=History.from_proto(message.history) if message.history else None,
            quasi_newton_state=QuasiNewtonState.from_proto(message.quasi_newton_state)
            if message.HasField("quasi_newton_state")
            else None,
            optima=tuple(LocalOptimum.from_proto(optimum) for optimum in message.optima),
            sensitivities=Sensitivities.from_proto(message.sensitivities)
            if message.HasField("sensitivities")
            else None,
            hessian_products=message.hessian_products,
            stationarity=Stationarity.from_proto(message.stationarity) if message.HasField("stationarity") else None,
        )


class Advice(NamedTuple):
    """Something that looks unintended although no rule forbids it."""

    field: str  # path from the request
    description: str


@dataclasses.dataclass(frozen=True)
class Lint:
    """What is wrong with a problem, what looks unintended, and what one hyper-gradient would cost."""

    violations: Tuple[FieldViolation, ...]  # broken rules; without any the rest is filled
    advice: Tuple[Advice, ...]
    bytes: float  # peak memory
    seconds: float  # to an order of magnitude

    def __str__(self) -> str:
        lines = [f"wrong: {field} {description}" for field, description in self.violations]
        lines += [f"{field} {description}" for field, description in self.advice]
        if not self.violations:
            lines.append(f"valid; needs about {self.bytes / 1e6:.3g} MB and {self.seconds:.2g} s")
        return "\n".join(lines)

"""Client of the bilevel reinforcement-learning service.

    import bilevel
    with bilevel.Server() as server, bilevel.Client(server.address) as client:
        point = client.evaluate_hypergradient(problem, x)
        print(point.objective, point.gradient, point.certificate.error_bound)

Problems are data classes over NumPy arrays (Problem, Context, Mdp, Reward, ...) or JSON (Problem.from_json).
Sessions (client.create_session) learn from streamed transitions. bilevel.torch and bilevel.jax hold a soft-optimal
policy as a differentiable layer. bilevel.v1 has the raw messages.
"""

from bilevel.actor import Actor, Drawn, Episode, Walk, run_episode
from bilevel.client import (
    Client,
    Cotangent,
    LowerLevelOptions,
    Method,
    MethodInfo,
    Methods,
    MSobirl,
    Optimization,
    Portfolio,
    ProjectedGradient,
    QuasiNewton,
    TruncatedNewton,
)
from bilevel.environment import StoredEnvironment
from bilevel.errors import (
    Aborted,
    AlreadyExists,
    BilevelError,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidRequest,
    NotConverged,
    NotFound,
    Rejected,
    ResourceExhausted,
    Unavailable,
)
from bilevel.estimate import Estimator, HypergradientEstimate
from bilevel.learners import (
    CountLearner,
    DriftTest,
    ModelPrior,
    ObservedLearner,
    PlugInLearner,
    SoftQLearner,
    StepSchedule,
)
from bilevel.mdp import Csr, Grid, Mdp
from bilevel.outer_loop import OuterLoop, OuterLoopStatus, OuterStep, Sobirl, StocSobirlStorm
from bilevel.preferences import FragmentRange, FragmentSteps, Preference
from bilevel.problem import (
    L1,
    Ball,
    Box,
    Budget,
    Context,
    Dynamics,
    FeasibleBlock,
    ParameterGroup,
    Problem,
    Simplex,
    SquaredL2,
    Unconstrained,
)
from bilevel.referee import RefereeRow, referee
from bilevel.reward import QuadraticForm, Reward
from bilevel.server import Server
from bilevel.session import Drift, LearnedPolicy, Session, SessionPolicy, SessionStatus
from bilevel.solution import (
    Advice,
    Certificate,
    ContextGradient,
    ContextSensitivities,
    GradientCheck,
    History,
    Hypergradient,
    Lint,
    LocalOptimum,
    LowerLevelCertificate,
    LowerLevelSolution,
    OptimizeResult,
    Progress,
    Pullback,
    QuasiNewtonState,
    Stationarity,
    Termination,
    WarmStart,
)
from bilevel.steps import Steps
from bilevel.terms import (
    Demonstrations,
    FeatureMatching,
    FollowerValue,
    LeaderReturn,
    ObjectiveTerm,
    Separable,
)
from bilevel.writer import PolicyUpdate, Writer

__all__ = [name for name, value in globals().items() if getattr(value, "__module__", "").startswith("bilevel.")]

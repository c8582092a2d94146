"""Client of the bilevel reinforcement-learning service.

    import bilevel
    with bilevel.Server() as server, bilevel.Client(server.address) as client:
        point = client.evaluate_hypergradient(problem, x)
        print(point.objective, point.gradient, point.certificate.error_bound)

Problems are data classes over NumPy arrays (Problem, Context, Mdp, Reward, ...) or JSON (Problem.from_json).
bilevel.torch and bilevel.jax hold a soft-optimal policy as a differentiable layer. bilevel.v1 has the raw messages.
"""

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
from bilevel.errors import (
    BilevelError,
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    InvalidRequest,
    NotConverged,
    ResourceExhausted,
    Unavailable,
)
from bilevel.mdp import Csr, Grid, Mdp
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
from bilevel.reward import QuadraticForm, Reward
from bilevel.server import Server
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
from bilevel.terms import (
    Demonstrations,
    FeatureMatching,
    FollowerValue,
    LeaderReturn,
    ObjectiveTerm,
    Separable,
)

__all__ = [name for name, value in globals().items() if getattr(value, "__module__", "").startswith("bilevel.")]

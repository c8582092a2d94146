"""The client: one method for each call of the service, NumPy in and out, a deadline on every call.

    with bilevel.Client("127.0.0.1:50051") as client:
        point = client.evaluate_hypergradient(problem, x)

Reaching a limit is no error: read `termination`. Errors are bilevel.BilevelError.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from json import dumps
from typing import Any, Callable, Iterator, Literal, Optional, Sequence, Tuple, Union

import grpc
import numpy.typing as npt

from bilevel import _chunks, learners, solution, v1
from bilevel.arrays import to_array
from bilevel.environment import StoredEnvironment, upload
from bilevel.errors import BilevelError, Cancelled, InvalidRequest, from_rpc_error
from bilevel.estimate import Estimator, EstimatorName
from bilevel.learners import DriftTest, FollowerName, Learner, LearnerName, ModelPrior
from bilevel.mdp import Mdp
from bilevel.outer_loop import OuterLoop, OuterMethodName, outer_loop_message
from bilevel.problem import Problem
from bilevel.session import Session, SessionStatus
from bilevel.solution import OptimizeResult, Progress, QuasiNewtonState, WarmStart

# What a reply may need beyond the time limit of its request: queueing and transfer.
_TIME_LIMIT_SLACK = 10.0
_RETRY_BUFFER_BYTES = _chunks.MESSAGE_BYTES
# Of SessionService; writers and actors open their streams again by themselves.
_SAFE_TO_RETRY = (
    "GetSession",
    "ListSessions",
    "GetPolicy",
    "DownloadPolicy",
    "EstimateHypergradient",
    "AddPreferences",
)
# Of EnvironmentService; uploads go on by themselves.
_SAFE_TO_RETRY_ENVIRONMENTS = ("GetUpload", "GetEnvironment", "ListEnvironments", "DeleteEnvironment")

AnyProblem = Union[Problem, Any]  # or a v1.Problem


@dataclasses.dataclass(frozen=True)
class LowerLevelOptions:
    """How exactly, and how, inner problems are solved; None means the server's default."""

    residual_tolerance: Optional[float] = None
    max_sweeps: Optional[int] = None
    method: Literal["automatic", "sweeps", "newton_direct", "newton_krylov"] = "automatic"
    adjoint_tolerance: Optional[float] = None

    def to_proto(self) -> Any:
        if self.method not in ("automatic", "sweeps", "newton_direct", "newton_krylov"):
            raise ValueError(f"method is {self.method!r}; must be automatic, sweeps, newton_direct or newton_krylov")
        return v1.LowerLevelOptions(
            residual_tolerance=self.residual_tolerance,
            max_sweeps=self.max_sweeps,
            method=0
            if self.method == "automatic"
            else v1.LowerLevelMethod[f"LOWER_LEVEL_METHOD_{self.method.upper()}"],
            adjoint_tolerance=self.adjoint_tolerance,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Cotangent:
    """What flows back from the caller's own objective into one context; None means zeros."""

    policy: Optional[npt.ArrayLike] = None  # [S, A]
    q: Optional[npt.ArrayLike] = None  # [S, A]
    value: Optional[npt.ArrayLike] = None  # [S]

    def to_proto(self) -> Any:
        given = {"policy": self.policy, "q": self.q, "value": self.value}
        return v1.Cotangent(**{name: to_array(array) for name, array in given.items() if array is not None})


@dataclasses.dataclass(frozen=True)
class MSobirl:
    """M-SoBiRL, the paper's single-loop method; None means the server's default."""

    step_size: Optional[float] = None
    sweeps: Optional[int] = None
    adjoint_step: Literal["gradient", "l1", "krylov"] = "gradient"
    zeta: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class ProjectedGradient:
    """Projected descent on the exact hyper-gradient; a step_size fixes the step."""

    step_size: Optional[float] = None


@dataclasses.dataclass(frozen=True, eq=False)
class QuasiNewton:
    """Projected limited-memory BFGS on the exact hyper-gradient; `state` of an earlier result continues that run."""

    memory: Optional[int] = None
    state: Optional[QuasiNewtonState] = None


@dataclasses.dataclass(frozen=True)
class Portfolio:
    """Global search: many starts, entropy continuation and basin hopping around quasi-Newton descents."""

    islands: Optional[int] = None
    evaluations_per_round: Optional[int] = None
    patience: Optional[int] = None
    max_optima: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class TruncatedNewton:
    """Newton-CG with exact Hessian products; max_products for each step."""

    max_products: Optional[int] = None


Method = Union[MSobirl, ProjectedGradient, QuasiNewton, Portfolio, TruncatedNewton]
MethodName = Literal["m_sobirl", "projected_gradient", "quasi_newton", "portfolio", "truncated_newton"]

_METHODS = {
    "m_sobirl": MSobirl,
    "projected_gradient": ProjectedGradient,
    "quasi_newton": QuasiNewton,
    "portfolio": Portfolio,
    "truncated_newton": TruncatedNewton,
}


def _set_method(method: Union[Method, MethodName], request: Any) -> None:
    """Fills one of the methods of an OptimizeRequest."""
    if isinstance(method, str) and method.replace("-", "_") in _METHODS:
        method = _METHODS[method.replace("-", "_")]()
    if isinstance(method, MSobirl):
        if method.adjoint_step not in ("gradient", "l1", "krylov"):
            raise ValueError(f"adjoint_step is {method.adjoint_step!r}; must be gradient, l1 or krylov")
        request.m_sobirl.CopyFrom(
            v1.MSobirlOptions(
                step_size=method.step_size,
                sweeps=method.sweeps,
                zeta=method.zeta,
                adjoint_step=v1.MSobirlOptions.AdjointStep.Value(f"ADJOINT_STEP_{method.adjoint_step.upper()}"),
            )
        )
    elif isinstance(method, ProjectedGradient):
        request.projected_gradient.CopyFrom(v1.ProjectedGradientOptions(step_size=method.step_size))
    elif isinstance(method, QuasiNewton):
        state = None if method.state is None else method.state.to_proto()
        request.quasi_newton.CopyFrom(v1.QuasiNewtonOptions(memory=method.memory, state=state))
    elif isinstance(method, Portfolio):
        request.portfolio.CopyFrom(v1.PortfolioOptions(**dataclasses.asdict(method)))
    elif isinstance(method, TruncatedNewton):
        request.truncated_newton.CopyFrom(v1.TruncatedNewtonOptions(max_products=method.max_products))
    else:
        rule = f"must be {', '.join(_METHODS)}, or an instance of their classes, such as Portfolio()"
        error = ValueError if isinstance(method, str) else TypeError
        raise error(f"method is {method!r}; {rule}")


@dataclasses.dataclass(frozen=True)
class MethodInfo:
    """An outer method of the server."""

    name: str
    description: str
    source: str
    guarantee: str


@dataclasses.dataclass(frozen=True)
class Methods:
    """What the server can do, and its limits."""

    server_version: str
    methods: Tuple[MethodInfo, ...]
    message_bytes: int
    states: int
    transitions: int
    memory_budget_bytes: float
    queue_length: int
    threads: int
    sessions: int
    session_queue: int
    batch: int
    environments: int
    uploads: int


def _is_loopback(target: str) -> bool:
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        if target.startswith(scheme):
            target = target[len(scheme) :]
            break
    host = target.split(":")[0]
    return target.startswith("[::1]") or host == "localhost" or re.fullmatch(r"127\.[0-9.]*", host) is not None


def _serialize(request: Any) -> bytes:
    return request if isinstance(request, bytes) else bytes(request.SerializeToString())


def _wire(problem: AnyProblem, request: Any) -> bytes:
    """A request as it is sent: its `problem`, field 1 of every request, then the rest.

    A Problem is serialised once, so that many requests cost little.
    """
    if isinstance(problem, Problem):
        field = problem.to_wire_field()
    else:
        field = v1.SolveLowerLevelRequest(problem=problem).SerializeToString()
    return bytes(field + request.SerializeToString())


class Client:
    """A connection to one server. Use it from any number of threads; close it, or use it in a `with` block.

    target: host:port or a gRPC name; by default the environment's BILEVEL_SERVER, else 127.0.0.1:50051. timeout and
    optimize_timeout: seconds until a call that names none is given up; the server stops 200 ms before and returns what
    it has reached. max_attempts: of calls that fail with UNAVAILABLE before their first reply, 1 ... 5. tls_roots: PEM
    certificates to trust, b"" for the system's; None is plaintext.
    """

    def __init__(
        self,
        target: Optional[str] = None,
        *,
        timeout: float = 60.0,
        optimize_timeout: float = 3600.0,
        max_attempts: int = 4,
        tls_roots: Optional[bytes] = None,
    ) -> None:
        if not 1 <= max_attempts <= 5:
            raise ValueError(f"max_attempts is {max_attempts}; must be in [1, 5]")
        if not (timeout > 0 and optimize_timeout > 0):
            raise ValueError(f"timeout is {timeout} and optimize_timeout {optimize_timeout}; both must be > 0")
        target = target or os.environ.get("BILEVEL_SERVER") or "127.0.0.1:50051"
        self.target = target
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._message_bytes: Optional[int] = None
        self._optimize_timeout = optimize_timeout
        options = [
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A long solve sends no data; the pings must go on all the same.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_receive_message_length", -1),
            # Streams that are opened again shall find a server that is back.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ]
        if _is_loopback(target):
            options.append(("grpc.enable_http_proxy", 0))
        if max_attempts > 1:
            policy = {
                "maxAttempts": max_attempts,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
            calls = [{"service": "bilevel.v1.SolverService"}]
            calls += [{"service": "bilevel.v1.SessionService", "method": name} for name in _SAFE_TO_RETRY]
            calls += [
                {"service": "bilevel.v1.EnvironmentService", "method": name} for name in _SAFE_TO_RETRY_ENVIRONMENTS
            ]
            # Calls in chunks are larger than what gRPC keeps for a retry: they see to it by themselves.
            chunked = {"name": [{"service": "bilevel.v1.SolverService", "method": "CallInChunks"}]}
            config = {"methodConfig": [{"name": calls, "retryPolicy": policy}, chunked]}
            options.append(("grpc.service_config", dumps(config)))  # type: ignore[arg-type]
        if tls_roots is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(tls_roots or None)
            self._channel = grpc.secure_channel(target, credentials, options)
        self._calls = {
            name: self._kind_of(method)(
                method.path,
                request_serializer=_serialize,
                response_deserializer=method.response.FromString,
            )
            for name, method in v1.METHODS.items()
        }

    def _kind_of(self, method: v1.Method) -> Any:
        if method.client_streaming:
            return self._channel.stream_stream if method.server_streaming else self._channel.stream_unary
        return self._channel.unary_stream if method.server_streaming else self._channel.unary_unary

    def close(self) -> None:
        """Ends the connection; calls in progress are cancelled."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def call(
        self, name: str, request: Any, timeout: Optional[float] = None, problem: Optional[AnyProblem] = None
    ) -> Any:
        """Any unary call with messages of bilevel.v1, for what the other methods do not say.

        With `problem`, that is the request's problem. What is larger than a message goes, or comes, in chunks.
        """
        deadline = time.monotonic() + self._deadline(request, timeout, self._timeout)
        data = _serialize(request) if problem is None else _wire(problem, request)
        in_chunks = name in _chunks.METHODS
        if not in_chunks or len(data) <= _chunks.MESSAGE_BYTES:
            try:
                return self._calls[name](data, timeout=max(0.0, deadline - time.monotonic()))
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
            if not (in_chunks and _chunks.needed(failure)):
                raise failure from None
        (response,) = self._chunked(name, data, deadline)
        return response

    def _chunked(self, name: str, data: bytes, deadline: float) -> _chunks.Chunked:
        return _chunks.Chunked(self._calls["CallInChunks"], name, data, deadline, self._max_attempts)

    def _optimize(self, data: bytes, timeout: float) -> _chunks.Events:
        deadline = time.monotonic() + timeout
        return _chunks.Events(self._calls["Optimize"], data, deadline, self._chunked("Optimize", data, deadline))

    def stream(self, name: str, request: Any, timeout: Optional[float] = None) -> Iterator[Any]:
        """Any call that answers with a stream."""
        deadline = self._deadline(request, timeout, self._timeout)
        call: Any = None
        if name == "Optimize":
            call = self._optimize(_serialize(request), deadline)
        else:
            call = self._calls[name](request, timeout=deadline)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def open_stream(self, name: str) -> Callable[..., Any]:
        """What starts a call that streams, given its request or requests; it has no deadline but by timeout=seconds."""
        return self._calls[name]  # type: ignore[no-any-return]

    @staticmethod
    def _deadline(request: Any, timeout: Optional[float], default: float) -> float:
        if timeout is not None:
            return timeout
        limit = getattr(request, "time_limit", None)
        if limit is None or not request.HasField("time_limit"):
            return default
        return float(max(default, limit.seconds + 1e-9 * limit.nanos + _TIME_LIMIT_SLACK))

    @staticmethod
    def _fill(
        request: Any,
        parameters: Optional[npt.ArrayLike],
        lower_level: Optional[LowerLevelOptions],
        time_limit: Optional[float],
        warm_start: Optional[WarmStart] = None,
    ) -> Any:
        if parameters is not None:
            request.parameters.CopyFrom(to_array(parameters))
        if lower_level is not None:
            request.lower_level.CopyFrom(lower_level.to_proto())
        if time_limit is not None:
            request.time_limit.FromNanoseconds(round(time_limit * 1e9))
        if warm_start is not None:
            request.warm_start.CopyFrom(warm_start.to_proto())
        return request

    def methods(self, *, timeout: Optional[float] = None) -> Methods:
        """Methods, limits and version of the server."""
        response = self.call("ListMethods", v1.ListMethodsRequest(), timeout)
        limits = response.limits
        return Methods(
            server_version=response.server_version,
            methods=tuple(MethodInfo(m.name, m.description, m.source, m.guarantee) for m in response.methods),
            message_bytes=int(limits.message_bytes),
            states=limits.states,
            transitions=int(limits.transitions),
            memory_budget_bytes=limits.memory_budget_bytes,
            queue_length=limits.queue_length,
            threads=limits.threads,
            sessions=limits.sessions,
            session_queue=limits.session_queue,
            batch=limits.batch,
            environments=limits.environments,
            uploads=limits.uploads,
        )

    def message_bytes(self) -> int:
        """The server's limit of a message, bytes; asked for once."""
        if self._message_bytes is None:
            self._message_bytes = self.methods().message_bytes
        return self._message_bytes

    def health(self, service: str = "", *, timeout: Optional[float] = None) -> str:
        """What the standard health service says: SERVING, NOT_SERVING, ...; raises Unavailable without a server."""
        # HealthCheckRequest{service = 1} and HealthCheckResponse{status = 1}, by hand: their package is one more.
        name = service.encode()
        if len(name) > 127:
            raise ValueError(f"service has {len(name)} bytes; must be at most 127")
        call = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            reply = call(b"\x0a" + bytes([len(name)]) + name if name else b"", timeout=timeout or self._timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        status = reply[1] if reply[:1] == b"\x08" else 0
        return ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")[status]

    def solve(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike] = None,
        *,
        return_q: bool = False,
        return_log_policy: bool = False,
        return_reward: bool = False,
        lower_level: Optional[LowerLevelOptions] = None,
        warm_start: Optional[WarmStart] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
    ) -> Tuple[solution.LowerLevelSolution, ...]:
        """The follower's soft-optimal value and policy at x, one for each context."""
        request = v1.SolveLowerLevelRequest(
            return_q=return_q, return_log_policy=return_log_policy, return_reward=return_reward
        )
        self._fill(request, parameters, lower_level, time_limit, warm_start)
        response = self.call("SolveLowerLevel", request, timeout, problem)
        return tuple(solution.LowerLevelSolution.from_proto(context) for context in response.contexts)

    def _evaluate(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike],
        return_policies: bool,
        return_warm_start: bool,
        lower_level: Optional[LowerLevelOptions],
        warm_start: Optional[WarmStart],
        time_limit: Optional[float],
        timeout: Optional[float],
    ) -> Tuple[solution.Hypergradient, ...]:
        request = v1.EvaluateHypergradientRequest(return_policies=return_policies, return_warm_start=return_warm_start)
        self._fill(request, parameters, lower_level, time_limit, warm_start)
        response = self.call("EvaluateHypergradient", request, timeout, problem)
        return tuple(solution.Hypergradient.from_proto(point) for point in response.points)

    def evaluate_hypergradient(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike] = None,
        *,
        return_policies: bool = False,
        return_warm_start: bool = False,
        lower_level: Optional[LowerLevelOptions] = None,
        warm_start: Optional[WarmStart] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
    ) -> solution.Hypergradient:
        """Objective and certified hyper-gradient at one x, [n]; default zeros."""
        points = self._evaluate(
            problem, parameters, return_policies, return_warm_start, lower_level, warm_start, time_limit, timeout
        )
        if len(points) != 1:
            raise ValueError(f"{len(points)} points came back; parameters must be one x, [n]")
        return points[0]

    def evaluate_hypergradients(
        self,
        problem: AnyProblem,
        parameters: npt.ArrayLike,
        *,
        return_policies: bool = False,
        return_warm_start: bool = False,
        lower_level: Optional[LowerLevelOptions] = None,
        warm_start: Optional[WarmStart] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
    ) -> Tuple[solution.Hypergradient, ...]:
        """The same at many x, [k, n], each started from the one before; fewer come back when time runs out."""
        return self._evaluate(
            problem, parameters, return_policies, return_warm_start, lower_level, warm_start, time_limit, timeout
        )

    def pullback(
        self,
        problem: AnyProblem,
        cotangents: Sequence[Cotangent] = (),
        parameters: Optional[npt.ArrayLike] = None,
        *,
        return_transition_gradient: bool = False,
        return_warm_start: bool = False,
        return_log_policy: bool = False,
        lower_level: Optional[LowerLevelOptions] = None,
        warm_start: Optional[WarmStart] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
    ) -> solution.Pullback:
        """The follower's answer, and the vector-Jacobian product with cotangents, none or one for each context."""
        request = v1.PullbackRequest(
            cotangents=[cotangent.to_proto() for cotangent in cotangents],
            return_transition_gradient=return_transition_gradient,
            return_warm_start=return_warm_start,
            return_log_policy=return_log_policy,
        )
        self._fill(request, parameters, lower_level, time_limit, warm_start)
        return solution.Pullback.from_proto(self.call("Pullback", request, timeout, problem))

    def check_gradient(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike] = None,
        *,
        step: Optional[float] = None,
        directions: int = 0,
        seed: int = 0,
        lower_level: Optional[LowerLevelOptions] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
    ) -> solution.GradientCheck:
        """The hyper-gradient against central differences, along every coordinate or `directions` random ones."""
        request = v1.CheckGradientRequest(step=step, directions=directions, seed=seed)
        self._fill(request, parameters, lower_level, time_limit)
        return solution.GradientCheck.from_proto(self.call("CheckGradient", request, timeout, problem))

    def lint(
        self, problem: AnyProblem, parameters: Optional[npt.ArrayLike] = None, *, timeout: Optional[float] = None
    ) -> solution.Lint:
        """What is wrong with the problem, what looks unintended, and what one hyper-gradient would cost.

        Without objectives: one solve. Other errors than a broken rule (too large, no server) are raised.
        """
        message = problem.to_proto() if isinstance(problem, Problem) else problem
        with_objective = any(context.objective for context in message.contexts)
        name = "EvaluateHypergradient" if with_objective else "SolveLowerLevel"
        request = v1.METHODS[name].request(validate_only=True)
        self._fill(request, parameters, None, None)
        try:
            estimate = self.call(name, request, timeout, problem).estimate
        except InvalidRequest as error:
            return solution.Lint(error.violations, (), float("nan"), float("nan"))
        advice = tuple(solution.Advice(item.field, item.description) for item in estimate.advice)
        return solution.Lint((), advice, estimate.bytes, estimate.seconds)

    def optimize(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike] = None,
        method: Union[Method, MethodName] = ProjectedGradient(),
        *,
        gradient_tolerance: Optional[float] = None,
        max_iterations: Optional[int] = None,
        max_evaluations: Optional[int] = None,
        progress_every: int = 0,
        certify_progress: bool = False,
        return_history: bool = False,
        return_stationarity: bool = False,
        seed: int = 0,
        return_policies: bool = False,
        return_warm_start: bool = False,
        return_sensitivities: bool = False,
        lower_level: Optional[LowerLevelOptions] = None,
        warm_start: Optional[WarmStart] = None,
        time_limit: Optional[float] = None,
        timeout: Optional[float] = None,
        progress_bar: bool = False,
    ) -> "Optimization":
        """Optimises x from `parameters`, by a method with its options, or by its name: "portfolio".

        Iterate over what comes back for progress and, last, the result; or call its `result()`. progress_bar shows a
        bar on standard error, tqdm's when it is installed.
        """
        request = v1.OptimizeRequest(
            gradient_tolerance=gradient_tolerance,
            max_iterations=max_iterations,
            max_evaluations=max_evaluations,
            progress_every=progress_every,
            certify_progress=certify_progress,
            return_history=return_history,
            return_stationarity=return_stationarity,
            seed=seed,
            return_policies=return_policies,
            return_warm_start=return_warm_start,
            return_sensitivities=return_sensitivities,
        )
        _set_method(method, request)
        self._fill(request, parameters, lower_level, time_limit, warm_start)
        deadline = self._deadline(request, timeout, self._optimize_timeout)
        return Optimization(self._optimize(_wire(problem, request), deadline), _Bar(request) if progress_bar else None)

    def upload_environment(
        self,
        mdp: Any,
        *,
        num_actions: int = 0,
        upload_id: Optional[str] = None,
        timeout: Optional[float] = None,
        progress_bar: bool = False,
    ) -> StoredEnvironment:
        """Brings an environment to the server, which keeps it in memory: problems may name it from then on.

        mdp: an Mdp with transitions; or transitions alone, as an Mdp takes them, num_actions with sparse ones. An upload
        goes on by itself after broken connections, until `timeout`, by default the client's optimize_timeout; with an
        `upload_id` of your own, [a-z0-9-]{1,64}, a later process goes on with the same bytes, too, within ten minutes.
        Without a server it raises Unavailable.
        """
        environment = mdp if isinstance(mdp, Mdp) else Mdp(mdp, num_actions=num_actions)
        bar = _UploadBar() if progress_bar else None
        try:
            response = upload(
                self,
                environment,
                upload_id,
                self._optimize_timeout if timeout is None else timeout,
                bar.show if bar is not None else lambda sent, total: None,
            )
        finally:
            if bar is not None:
                bar.close()
        return StoredEnvironment.from_proto(response.environment, response.existed)

    def environment(self, name: str, *, timeout: Optional[float] = None) -> StoredEnvironment:
        """What the server knows of an environment, environments/{SHA-256 in hex}. NotFound when it has none such."""
        return StoredEnvironment.from_proto(self.call("GetEnvironment", v1.GetEnvironmentRequest(name=name), timeout))

    def list_environments(self, *, timeout: Optional[float] = None) -> Tuple[StoredEnvironment, ...]:
        """All environments of the server, by name."""
        response = self.call("ListEnvironments", v1.ListEnvironmentsRequest(), timeout)
        return tuple(map(StoredEnvironment.from_proto, response.environments))

    def delete_environment(
        self, environment: Union[str, StoredEnvironment], *, timeout: Optional[float] = None
    ) -> None:
        """Forgets an environment; calls that use it finish, and its memory is free after the last."""
        name = environment.name if isinstance(environment, StoredEnvironment) else environment
        self.call("DeleteEnvironment", v1.DeleteEnvironmentRequest(name=name), timeout)

    def create_session(
        self,
        problem: AnyProblem,
        parameters: Optional[npt.ArrayLike] = None,
        *,
        session_id: str = "",
        writers: Sequence[str] = (),
        learner: Union[Learner, LearnerName, None] = None,
        follower: FollowerName = "solved",
        update_interval: Optional[int] = None,
        prior: Optional[ModelPrior] = None,
        estimate_with_policy: Union[Estimator, EstimatorName, None] = None,
        outer_loop: Union[OuterLoop, OuterMethodName, None] = None,
        merge_round: Optional[int] = None,
        queue: Optional[int] = None,
        max_open_episodes: Optional[int] = None,
        max_distinct: Optional[int] = None,
        trajectory_capacity: Optional[int] = None,
        preference_capacity: Optional[int] = None,
        drift: Optional[DriftTest] = None,
        seed: int = 0,
        timeout: Optional[float] = None,
    ) -> Session:
        """Starts a session that learns from streamed transitions, at x = `parameters`, [n], by default zeros.

        Transitions and termination probabilities of the problem's environments are left out, for the session learns them:
        Mdp(num_states=S, num_actions=A) has none. outer_loop: how the leader moves x by itself, an OuterLoop or its method's
        name; without it only set_parameters does. CreateSessionRequest in session_service.proto documents the rest; None
        means the server's default.
        """
        request = learners.create_request(
            problem,
            parameters,
            learner,
            follower,
            prior,
            estimate_with_policy,
            drift,
            session_id=session_id,
            writers=writers,
            update_interval=update_interval,
            outer_loop=outer_loop_message(outer_loop),
            merge_round=merge_round,
            queue=queue,
            max_open_episodes=max_open_episodes,
            max_distinct=max_distinct,
            trajectory_capacity=trajectory_capacity,
            preference_capacity=preference_capacity,
            seed=seed,
        )
        return Session(self, self.call("CreateSession", request, timeout).name)

    def session(self, name: str) -> Session:
        """The session of this name, "town" or "sessions/town"; whether there is one shows when it is used."""
        return Session(self, name)

    def sessions(self, *, timeout: Optional[float] = None) -> Tuple[SessionStatus, ...]:
        """How far each session of the server has come, by name."""
        response = self.call("ListSessions", v1.ListSessionsRequest(), timeout)
        return tuple(map(SessionStatus.from_proto, response.sessions))


class _Outcome:
    """What an Optimization has seen; apart from it, so that the iterator does not keep it alive."""

    def __init__(self) -> None:
        self.progress: Optional[Progress] = None
        self.result: Optional[OptimizeResult] = None
        self.error: Optional[BilevelError] = None


class Optimization:
    """A running optimisation: an iterator of Progress that ends with one OptimizeResult.

    Leaving a `with` block, or dropping it, stops the server's work.
    """

    def __init__(self, call: Any, bar: Optional["_Bar"]) -> None:
        self._call = call
        self._outcome = _Outcome()
        self._events = _read(call, self._outcome, bar)

    @property
    def last_progress(self) -> Optional[Progress]:
        """The last progress, whose best_parameters survive a cancelled or broken call."""
        return self._outcome.progress

    def __iter__(self) -> "Optimization":
        return self

    def __next__(self) -> Union[Progress, OptimizeResult]:
        return next(self._events)

    def __enter__(self) -> "Optimization":
        return self

    def __exit__(self, *_: Any) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stops the server's work; iterating then raises Cancelled."""
        self._call.cancel()

    def result(self) -> OptimizeResult:
        """Waits for the end. Raises BilevelError; `last_progress` then has the best point so far."""
        for _ in self._events:
            pass
        if self._outcome.error is not None:
            raise self._outcome.error
        if self._outcome.result is None:
            raise Cancelled("the iteration was left before its end", grpc.StatusCode.CANCELLED)
        return self._outcome.result


def _read(call: Any, outcome: _Outcome, bar: Optional["_Bar"]) -> Iterator[Union[Progress, OptimizeResult]]:
    try:
        for event in call:
            if event.WhichOneof("event") == "result":
                outcome.result = OptimizeResult.from_proto(event.result)
                yield outcome.result
            else:
                outcome.progress = Progress.from_proto(event.progress)
                if bar is not None:
                    bar.show(outcome.progress)
                yield outcome.progress
    except BilevelError as error:
        outcome.error = error
        raise
    finally:
        if bar is not None:
            bar.close()
        call.cancel()


class _Bar:
    """tqdm's bar where it is installed, else a line that is written over."""

    def __init__(self, request: Any) -> None:
        self._unit, total = "iteration", request.max_iterations if request.HasField("max_iterations") else 1000
        if request.HasField("portfolio"):
            self._unit, total = "round", None  # patience ends it, not the number of rounds
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._tqdm = None
        else:
            self._tqdm = tqdm(total=total, unit="it" if self._unit == "iteration" else "round")

    def show(self, progress: Progress) -> None:
        facts = f"objective {progress.objective:.6g}, |h| {progress.gradient_norm:.3g}"
        if self._unit == "round":
            facts = f"{progress.evaluations} evaluations, " + facts
        if self._tqdm is None:
            print(f"\r{self._unit} {progress.iteration}, {facts}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            self._tqdm.n = progress.iteration
            self._tqdm.set_postfix_str(facts)

    def close(self) -> None:
        if self._tqdm is None:
            print(file=sys.stderr)
        else:
            self._tqdm.close()


class _UploadBar:
    """tqdm's bar where it is installed, else a line that is written over."""

    def __init__(self) -> None:
        self._tqdm: Any = None
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._make: Any = None
        else:
            self._make = tqdm

    def show(self, sent: int, total: int) -> None:
        if self._make is None:
            print(f"\r{sent / 1e6:.1f} of {total / 1e6:.1f} MB\x1b[K", end="", file=sys.stderr, flush=True)
            return
        if self._tqdm is None:
            self._tqdm = self._make(total=total, unit="B", unit_scale=True)
        self._tqdm.update(sent - self._tqdm.n)

    def close(self) -> None:
        if self._make is None:
            print(file=sys.stderr)
        elif self._tqdm is not None:
            self._tqdm.close()


__all__ = ["BilevelError", "Client", "Cotangent", "LowerLevelOptions", "MSobirl", "Optimization", "ProjectedGradient"]

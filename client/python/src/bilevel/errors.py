"""Errors of calls: the server's code, the cause by name, and the fields that broke a rule."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

import grpc

from bilevel import v1

_DETAILS = "grpc-status-details-bin"
_TYPE_URL = "type.googleapis.com/google.rpc."


class FieldViolation(NamedTuple):
    """A rule that the request broke."""

    field: str  # path from the request: problem.contexts[0].discount
    description: str  # value and rule


class BilevelError(Exception):
    """A call failed. Reaching a limit is no error: read `termination` of the result."""

    code: grpc.StatusCode
    # UPPER_SNAKE_CASE cause, listed in proto/README.md; empty when the error does not come from the service.
    reason: str
    # Broken rules, with InvalidRequest.
    violations: tuple[FieldViolation, ...]
    # Seconds to wait before the next try; None where trying again is of no use.
    retry_delay: Optional[float]

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_delay: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = violations
        self.retry_delay = retry_delay

    @property
    def field(self) -> str:
        """Path of the first field that broke a rule, or ''."""
        return self.violations[0].field if self.violations else ""

    def __str__(self) -> str:
        return f"{self.code.name}: {super().__str__()}"


class InvalidRequest(BilevelError, ValueError):
    """INVALID_ARGUMENT: a field breaks its rule; `violations` name path, value and rule."""


class ResourceExhausted(BilevelError):
    """RESOURCE_EXHAUSTED: too large for the server, or the server is too busy (then retry_delay is set)."""


class Unavailable(BilevelError, ConnectionError):
    """UNAVAILABLE: no server, or it is stopping."""


class DeadlineExceeded(BilevelError, TimeoutError):
    """DEADLINE_EXCEEDED: no answer in time."""


class Cancelled(BilevelError):
    """CANCELLED: the caller cancelled."""


class NotFound(BilevelError, LookupError):
    """NOT_FOUND: no session (or writer of it), or no environment, of this name."""


class AlreadyExists(BilevelError):
    """ALREADY_EXISTS: the name is in use."""


class FailedPrecondition(BilevelError):
    """FAILED_PRECONDITION: the session is not in a state for this, or has not what it needs."""


class Aborted(BilevelError):
    """ABORTED: another stream took this writer's or upload's place, or the session was deleted. Final."""


class Rejected(BilevelError, ValueError):
    """The server refuses a transition, or a step of an Actor; what came before it is accepted, nothing after it is.

    `field` and `violations` name the column and the rule.
    """

    # Number of the transition; of an Actor's episode that begins, 0.
    sequence: int = 0
    # What was sent, by column.
    transition: Mapping[str, Any] = {}


class NotConverged(RuntimeError):
    """A layer's solve stopped before its tolerance was met (a deadline, say), so its numbers would mislead."""


_CLASSES: dict[grpc.StatusCode, type[BilevelError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Details:
    """What the details of a google.rpc.Status say."""

    def __init__(self) -> None:
        self.reason = ""
        self.violations: list[FieldViolation] = []
        self.retry_delay: Optional[float] = None

    def read(self, status: Any) -> None:
        for detail in status.details:
            if detail.type_url == _TYPE_URL + "ErrorInfo":
                self.reason = v1.rpc_ErrorInfo.FromString(detail.value).reason
            elif detail.type_url == _TYPE_URL + "BadRequest":
                bad = v1.rpc_BadRequest.FromString(detail.value)
                self.violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
            elif detail.type_url == _TYPE_URL + "RetryInfo":
                delay = v1.rpc_RetryInfo.FromString(detail.value).retry_delay
                self.retry_delay = delay.seconds + 1e-9 * delay.nanos

    def error(self, code: grpc.StatusCode, message: str, kind: Optional[type[BilevelError]] = None) -> BilevelError:
        found = _CLASSES.get(code, BilevelError) if kind is None else kind
        return found(message, code, self.reason, tuple(self.violations), self.retry_delay)


def from_rpc_error(error: Any) -> BilevelError:
    """The exception for a grpc.RpcError that is a call."""
    details = _Details()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            details.read(v1.rpc_Status.FromString(value))
    return details.error(error.code(), error.details() or "")


def from_status(status: Any, kind: Optional[type[BilevelError]] = None) -> BilevelError:
    """The exception for a google.rpc.Status inside a message; `kind` instead of the code's class."""
    details = _Details()
    details.read(status)
    return details.error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, kind)

"""Calls that are larger than one message."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from failures import Unavailable
from two_state import OPTIMUM, two_state

import bilevel
from bilevel import _chunks, v1


def test_a_large_problem_on_a_named_environment_goes_and_comes_in_chunks(client, rng):
    S, A = 200_000, 4
    rows = np.arange(S * A)
    moves = scipy.sparse.csr_matrix((np.ones(S * A), (rows, (rows // A + 1 + rows % A) % S)), shape=(S * A, S))
    stored = client.upload_environment(moves, num_actions=A)
    try:
        reward = rng.random((S, A))  # 6.4 MB
        context = bilevel.Context(stored.mdp, 0.5, 0.2, bilevel.Reward(base=reward))
        (answer,) = client.solve(bilevel.Problem([context]))
        assert answer.policy.shape == (S, A)
        # V = tau log sum exp(Q / tau), pi = exp((Q - V) / tau), Q = r + gamma V(next).
        q = reward + 0.5 * answer.value[(np.arange(S)[:, None] + 1 + np.arange(A)) % S]
        value = 0.2 * np.log(np.exp(q / 0.2).sum(1))
        assert answer.value == pytest.approx(value, abs=1e-8)
        assert answer.policy == pytest.approx(np.exp((q - value[:, None]) / 0.2), abs=1e-7)
    finally:
        client.delete_environment(stored)


def test_a_large_answer_comes_in_chunks(client):
    xs = np.linspace(-1, 1, 10_000)[:, None]
    points = client.evaluate_hypergradients(two_state(), xs)
    assert len(points) == len(xs)
    alone = client.evaluate_hypergradient(two_state(), xs[5])
    assert points[5].objective == pytest.approx(alone.objective, abs=1e-12)


def test_an_optimisation_with_a_large_result_comes_in_chunks(client, monkeypatch):
    S, A = 200_000, 4
    rows = np.arange(S * A)
    moves = scipy.sparse.csr_matrix((np.ones(S * A), (rows, (rows // A + 1) % S)), shape=(S * A, S))
    stored = client.upload_environment(moves, num_actions=A)
    started = _chunked_calls(client, monkeypatch)
    try:
        context = bilevel.Context(stored.mdp, 0.5, 0.2, objective=[bilevel.Separable()])
        result = client.optimize(
            bilevel.Problem([context], num_parameters=1, sense="minimize"), return_policies=True
        ).result()
        assert result.best.contexts[0].policy == pytest.approx(np.full((S, A), 1 / A))  # 6.4 MB
        assert len(started) == 1
    finally:
        client.delete_environment(stored)


def test_a_server_of_smaller_messages_is_sent_chunks():
    with bilevel.Server(flags=["--max_message_bytes=2000000"]) as server, bilevel.Client(server.address) as client:
        S, A = 50_000, 2
        rows = np.arange(S * A)
        moves = scipy.sparse.csr_matrix((np.ones(S * A), (rows, (rows // A + 1) % S)), shape=(S * A, S))
        problem = bilevel.Problem([bilevel.Context(bilevel.Mdp(moves, num_actions=A), 0.5, 0.2)])  # 2.0 MB
        (answer,) = client.solve(problem)
        assert answer.value == pytest.approx(np.full(S, 2 * 0.2 * np.log(A)))


def test_a_large_optimisation_begins_before_it_is_asked_for(client, monkeypatch):
    monkeypatch.setattr(_chunks, "MESSAGE_BYTES", 0)
    started = _chunked_calls(client, monkeypatch)
    run = client.optimize(two_state(), [2.0], "quasi_newton")
    assert len(started) == 1
    assert run.result().best.parameters == pytest.approx([OPTIMUM], abs=1e-6)
    assert len(started) == 1


def test_every_call_is_the_same_in_chunks(client, monkeypatch):
    request = v1.OptimizeRequest(problem=two_state().to_proto(), quasi_newton=v1.QuasiNewtonOptions())
    calls = {
        "solve": lambda: client.solve(two_state(), [0.3])[0].value.tolist(),
        "evaluate": lambda: client.evaluate_hypergradient(two_state(), [0.3]).gradient.tolist(),
        "pullback": lambda: client.pullback(two_state(), [bilevel.Cotangent(value=[1, 2])])
        .gradients[0]
        .reward.tolist(),
        "check": lambda: client.check_gradient(two_state(), [0.3]).numeric.tolist(),
        "optimize": lambda: client.optimize(two_state(), [2.0], "quasi_newton").result().best.parameters.tolist(),
        "stream": lambda: [event.WhichOneof("event") for event in client.stream("Optimize", request)][-1],
    }
    whole = {name: call() for name, call in calls.items()}
    assert whole["optimize"] == pytest.approx([OPTIMUM], abs=1e-6)
    monkeypatch.setattr(_chunks, "MESSAGE_BYTES", 0)
    started = _chunked_calls(client, monkeypatch)
    assert {name: call() for name, call in calls.items()} == whole
    assert len(started) == len(calls)


def _chunked_calls(client, monkeypatch):
    """The timeouts of those that are made from now on."""
    start, timeouts = client._calls["CallInChunks"], []

    def call(*arguments, **options):
        timeouts.append(options["timeout"])
        return start(*arguments, **options)

    monkeypatch.setitem(client._calls, "CallInChunks", call)
    return timeouts


def test_errors_deadlines_and_cancels_are_those_of_the_call(client, monkeypatch):
    monkeypatch.setattr(_chunks, "MESSAGE_BYTES", 0)
    problem = two_state()
    wrong = dataclasses.replace(problem, contexts=[dataclasses.replace(problem.contexts[0], discount=1.5)])
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.solve(wrong)
    assert error.value.field == "problem.contexts[0].discount"
    endless = dict(max_iterations=2_000_000_000, progress_every=100_000)
    run = client.optimize(problem, [2.0], bilevel.MSobirl(step_size=1e-9), timeout=1.0, **endless)
    assert run.result().termination.reason == "TIME_LIMIT"
    run = client.optimize(problem, [2.0], bilevel.MSobirl(step_size=1e-9), **endless)
    next(run)
    run.cancel()
    with pytest.raises(bilevel.Cancelled):
        run.result()
    with bilevel.Client("127.0.0.1:1", max_attempts=2) as nobody:
        with pytest.raises(bilevel.Unavailable):
            nobody.solve(problem)


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_unavailable_before_the_first_reply_is_tried_again(client, monkeypatch, attempts):
    monkeypatch.setattr(_chunks, "_FIRST_DELAY", 0.01)
    failures, started = [Unavailable(), Unavailable()], []

    class Failed:
        def __next__(self):
            raise failures.pop()

        def cancel(self):
            pass

    def start(requests, timeout):
        started.append(timeout)
        return Failed() if failures else client._calls["CallInChunks"](requests, timeout=timeout)

    import time

    request = v1.SolveLowerLevelRequest(problem=two_state().to_proto())
    call = _chunks.Chunked(start, "SolveLowerLevel", request.SerializeToString(), time.monotonic() + 60, attempts)
    if attempts < 3:
        with pytest.raises(bilevel.Unavailable):
            next(call)
    else:
        (response,) = call
        assert len(response.contexts) == 1
    assert len(started) == attempts

"""Environments that are uploaded once and named from then on."""

import dataclasses
import hashlib
import itertools
import struct
import threading
import time

import grpc
import numpy as np
import pytest
import scipy.sparse
from failures import Unavailable
from two_state import two_state

import bilevel
import bilevel.plot
from bilevel import environment, v1
from bilevel._canonical import CanonicalBytes


@pytest.fixture
def clean(client):
    yield
    for stored in client.list_environments():
        client.delete_environment(stored)


def random_mdp(rng, states, actions, **optional):
    rows = scipy.sparse.random(states * actions, states, density=0.2, format="csr", random_state=rng)
    rows = rows + scipy.sparse.csr_matrix(
        (np.ones(states * actions), (np.arange(states * actions), rng.integers(states, size=states * actions))),
        shape=rows.shape,
    )
    rows = scipy.sparse.diags(1 / np.asarray(rows.sum(axis=1)).ravel()) @ rows
    return bilevel.Mdp(rows, num_actions=actions, **optional)


def with_mdp(problem, mdp):
    return dataclasses.replace(problem, contexts=[dataclasses.replace(problem.contexts[0], mdp=mdp)])


def test_the_layout_is_that_of_the_proto_byte_by_byte():
    rows = bilevel.Csr(
        np.array([0, 2, 2, 3, 3]), np.array([0, 1, 1]), np.array([0.5, 0.5, 1.0], dtype=np.float32), (4, 2)
    )
    mdp = bilevel.Mdp(
        rows,
        num_actions=2,
        termination_probability=[[0, 1], [0, 1]],
        initial_distribution=[1, 0],
        available_actions=[[1, 1], [1, 0]],
    )
    expected = b"BILEVEL1" + struct.pack("<IIIIQ", 15, 2, 2, 0, 3) + struct.pack("<5Q", 0, 2, 2, 3, 3)
    expected += struct.pack("<4d", 0, 1, 0, 1) + struct.pack("<2d", 1, 0) + bytes([1, 1, 1, 0, 0, 0, 0, 0])
    expected += struct.pack("<3I", 0, 1, 1) + bytes(4) + struct.pack("<3f", 0.5, 0.5, 1)
    canonical = CanonicalBytes(mdp)
    assert canonical.size == len(expected)
    for begin in range(len(expected) + 1):
        for limit in (1, 3, 8, 1000):
            assert b"".join(canonical.pieces(begin, limit)) == expected[begin:]
    # What says no more than the default is left out.
    plain = dataclasses.replace(
        mdp, termination_probability=np.zeros((2, 2)), available_actions=np.ones((2, 2)), initial_distribution=None
    )
    assert b"".join(CanonicalBytes(plain).pieces(0, 1000))[8:12] == struct.pack("<I", 8)


def test_what_cannot_be_laid_out_is_named():
    rows = bilevel.Csr(np.array([0, 1]), np.array([0]), np.array([1.0]), (1, 1))
    for change, message in (
        ({"offsets": np.array([0])}, r"transitions.offsets has shape \[1\]; must be \[2\]"),
        ({"columns": np.array([0, 0])}, r"transitions.columns has shape \[2\]; must be \[1\]"),
        ({"columns": np.array([-1])}, r"transitions.columns has -1; must be in \[0, 2\^32\)"),
        ({"columns": np.array([0.0])}, "transitions.columns has elements of type float64"),
    ):
        with pytest.raises(ValueError, match=message):
            CanonicalBytes(bilevel.Mdp(rows._replace(**change), num_actions=1))
    rows = scipy.sparse.identity(50, format="csr")[np.arange(200) // 4]
    with pytest.raises(ValueError, match=r"transitions have shape \[200, 50\]; must be \[S\*A, S\] = \[200, 100\]"):
        CanonicalBytes(bilevel.Mdp(rows, num_actions=2))
    for name, shape, right in (
        ("termination_probability", (4, 50), r"\[50, 4\]"),
        ("available_actions", (200,), r"\[50, 4\]"),
        ("initial_distribution", (1, 50), r"\[50\]"),
    ):
        given = np.zeros(shape)
        given.flat[0] = 1
        with pytest.raises(ValueError, match=f"{name} has shape .*; must be {right}"):
            CanonicalBytes(bilevel.Mdp(rows, num_actions=4, **{name: given}))
    with pytest.raises(ValueError, match="no transitions to upload"):
        CanonicalBytes(bilevel.Mdp(num_states=2, num_actions=2))


def test_a_named_environment_answers_as_the_one_in_the_problem(client, clean, rng):
    problem = two_state()
    stored = client.upload_environment(problem.contexts[0].mdp)
    canonical = b"".join(CanonicalBytes(problem.contexts[0].mdp).pieces(0, 1 << 20))
    assert stored.name == "environments/" + hashlib.sha256(canonical).hexdigest()
    assert (stored.num_states, stored.num_actions, stored.num_transitions) == (2, 2, 8)
    assert stored.total_bytes == len(canonical) and stored.memory_bytes > 0 and not stored.existed
    named = with_mdp(problem, stored.mdp)
    inline, by_name = (client.evaluate_hypergradient(each, [0.3]) for each in (problem, named))
    assert by_name.objective == inline.objective
    assert (by_name.gradient == inline.gradient).all()
    assert client.upload_environment(problem.contexts[0].mdp).existed
    assert [each.name for each in client.list_environments()] == [stored.name]
    used = client.environment(stored.name)
    assert used.memory_bytes > stored.memory_bytes  # with where policies lead, which calls found and the server keeps
    assert dataclasses.replace(used, memory_bytes=stored.memory_bytes) == dataclasses.replace(stored, existed=False)
    # What stands beside a name is the caller's own.
    both = dataclasses.replace(problem.contexts[0].mdp, name=stored.name, grid=bilevel.Grid(1, 2, [0, 1]))
    assert with_mdp(problem, both).to_proto() == named.to_proto()
    assert len(bilevel.plot.show(client, with_mdp(problem, both), [0.0]).axes) == 2
    client.delete_environment(stored.name)
    with pytest.raises(bilevel.NotFound):
        client.evaluate_hypergradient(named, [0.3])
    with pytest.raises(bilevel.NotFound):
        client.environment(stored.name)


def test_many_pieces_arrive_whole(client, clean, rng, capsys):
    mdp = random_mdp(rng, 500, 4)
    stored = client.upload_environment(mdp.transitions, num_actions=4, progress_bar=True)
    assert stored.num_transitions == mdp.transitions.values.size and stored.total_bytes > 2 << 20
    reward = bilevel.Reward(base=rng.random((500, 4)))
    context = bilevel.Context(mdp, 0.9, 0.1, reward)
    (inline,) = client.solve(bilevel.Problem([context]))
    (named,) = client.solve(bilevel.Problem([dataclasses.replace(context, mdp=stored.mdp)]))
    assert (named.value == inline.value).all()
    assert capsys.readouterr().err


def test_an_upload_of_ones_own_goes_on(client, clean, rng):
    mdp = random_mdp(rng, 500, 4)
    canonical = CanonicalBytes(mdp)
    cancelled = threading.Event()

    def some(requests):
        for count, request in enumerate(requests):
            if count == 2:
                cancelled.wait(30)
            yield request

    def arrived():
        try:
            return client.call("GetUpload", v1.GetUploadRequest(upload_id="own")).offset
        except bilevel.NotFound:
            return 0

    requests = environment._Upload(client, mdp, "own", 30, lambda sent, total: None)._requests(0)
    call = client.open_stream("UploadEnvironment").future(some(requests), timeout=30)
    deadline = time.monotonic() + 10
    while arrived() < 2 << 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    call.cancel()
    cancelled.set()
    told = []
    response = environment.upload(client, mdp, "own", 30, lambda sent, total: told.append(sent))
    assert told[0] > 2 << 20 and told[-1] == canonical.size
    whole = hashlib.sha256(b"".join(canonical.pieces(0, 1 << 20))).hexdigest()
    assert response.environment.name == "environments/" + whole


def test_a_lost_answer_is_found_by_the_digest(client, clean, rng, monkeypatch):
    real, streams = client.open_stream("UploadEnvironment"), []

    def answerless(requests, timeout):
        streams.append(timeout)
        real(requests, timeout=timeout)
        raise Unavailable()

    monkeypatch.setitem(client._calls, "UploadEnvironment", answerless)
    stored = client.upload_environment(random_mdp(rng, 500, 4), timeout=10)
    assert not stored.existed and stored.num_states == 500
    assert len(streams) == 1
    assert [each.name for each in client.list_environments()] == [stored.name]


class Breaking:
    """A server whose streams take so many requests each before they break."""

    def __init__(self, takes):
        self.takes, self.taken = list(takes), b""

    def call(self, name, request, timeout):
        if name == "GetUpload" and self.taken:
            return v1.Upload(offset=len(self.taken))
        raise bilevel.NotFound("none", grpc.StatusCode.NOT_FOUND)

    def open_stream(self, name):
        return self.take

    def take(self, requests, timeout):
        for request in itertools.islice(requests, self.takes.pop(0)):
            assert request.offset == len(self.taken)
            self.taken += request.data
            if request.sha256:
                assert request.sha256 == hashlib.sha256(self.taken).digest()
                next(requests, None)
                return v1.UploadEnvironmentResponse()
        raise Unavailable()


def test_the_delay_grows_only_while_nothing_arrives(rng, monkeypatch):
    monkeypatch.setattr(environment, "_PIECE", 1 << 10)
    monkeypatch.setattr(environment.random, "uniform", lambda low, high: 1.0)
    slept = []
    monkeypatch.setattr(environment.time, "sleep", slept.append)
    mdp = random_mdp(rng, 50, 4)
    server = Breaking([0, 0, 3, 3, 0, 1000])
    environment.upload(server, mdp, None, 1000, lambda sent, total: None)
    assert server.taken == b"".join(CanonicalBytes(mdp).pieces(0, 1 << 20))
    first = environment._FIRST_DELAY
    assert slept == [first, 2 * first, first, first, 2 * first]


def test_no_server_is_told_at_once():
    with bilevel.Client("127.0.0.1:1", max_attempts=2) as nobody:
        with pytest.raises(bilevel.Unavailable):
            nobody.upload_environment(two_state().contexts[0].mdp)


def test_what_progress_raises_comes_out(client, clean, rng):
    def broken(sent, total):
        raise RuntimeError(f"at {sent}")

    with pytest.raises(RuntimeError, match=f"at {1 << 20}"):
        environment.upload(client, random_mdp(rng, 500, 4), None, 30, broken)


def test_a_problem_that_names_its_environment_survives_json(client):
    name = "environments/" + "0" * 64
    problem = with_mdp(two_state(), bilevel.Mdp(name=name, num_states=2, num_actions=2))
    assert f'"environment_name": "{name}"' in problem.to_json()
    again = bilevel.Problem.from_json(problem.to_json())
    assert again.contexts[0].mdp.name == name and again.contexts[0].mdp.transitions is None
    assert again.to_json() == problem.to_json()
    with pytest.raises(bilevel.NotFound):
        client.solve(again, [0.0])


def test_bad_environments_are_refused_and_leave_nothing(client, clean):
    rows = bilevel.Csr(np.array([0, 1]), np.array([0]), np.array([0.5]), (1, 1))
    with pytest.raises(bilevel.InvalidRequest, match="sums to 0.5"):
        client.upload_environment(rows, num_actions=1)
    assert client.list_environments() == ()

"""Environments that are uploaded once and named from then on."""

import dataclasses
import hashlib
import struct
import threading
import time

import numpy as np
import pytest
import scipy.sparse
from two_state import two_state

import bilevel
import bilevel.plot
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
        ({"offsets": np.array([0])}, "transitions.offsets has 1 elements; must have 2"),
        ({"columns": np.array([0, 0])}, "transitions.columns has 2 elements; must have 1"),
        ({"columns": np.array([-1])}, r"transitions.columns has -1; must be in \[0, 2\^32\)"),
        ({"columns": np.array([0.0])}, "transitions.columns has elements of type float64"),
    ):
        with pytest.raises(ValueError, match=message):
            CanonicalBytes(bilevel.Mdp(rows._replace(**change), num_actions=1))
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
    assert client.environment(stored.name) == dataclasses.replace(stored, existed=False)
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
    from bilevel import environment, v1

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

    requests = environment._requests(canonical, "own", 0, lambda sent, total: None)
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

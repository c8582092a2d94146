"""Errors carry code, reason and field path; servers are found, started and stopped."""

import socket

import grpc
import numpy as np
import pytest
from two_state import two_state

import bilevel


def test_an_invalid_field_is_named(client):
    bad = bilevel.Problem([bilevel.Context(bilevel.Mdp(np.ones((1, 1, 1))), discount=1.0, temperature=0.1)])
    with pytest.raises(bilevel.InvalidRequest) as error:
        client.solve(bad)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.reason == "INVALID_FIELD"
    assert error.value.field == "problem.contexts[0].discount"
    assert "is 1; must be in [0, 1)" in error.value.violations[0].description
    assert isinstance(error.value, ValueError)
    assert str(error.value).startswith("INVALID_ARGUMENT: problem.contexts[0].discount")


def test_what_is_too_large_is_refused_with_its_limit():
    with bilevel.Server(flags=["--max_states=1"]) as small, bilevel.Client(small.address) as client:
        with pytest.raises(bilevel.ResourceExhausted) as error:
            client.solve(two_state())
        assert error.value.reason == "SIZE_LIMIT_EXCEEDED"
        assert error.value.retry_delay is None


def test_no_server_is_unavailable():
    with bilevel.Client("127.0.0.1:1", max_attempts=1) as client:
        with pytest.raises(bilevel.Unavailable):
            client.health(timeout=5)
        with pytest.raises(ConnectionError):
            client.solve(two_state(), timeout=5)


def test_who_does_not_answer_exceeds_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with bilevel.Client(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            with pytest.raises(bilevel.DeadlineExceeded):
                client.solve(two_state(), timeout=0.3)
            with pytest.raises(TimeoutError):
                client.health(timeout=0.3)


def test_clients_refuse_options_that_make_no_sense():
    with pytest.raises(ValueError, match="max_attempts is 9"):
        bilevel.Client(max_attempts=9)
    with pytest.raises(ValueError, match="timeout is 0"):
        bilevel.Client(timeout=0)


def test_methods_go_by_class_or_by_name():
    with bilevel.Client() as client:
        with pytest.raises(ValueError, match="method is 'newton'; must be m_sobirl, projected_gradient, "):
            client.optimize(two_state(), method="newton")
        with pytest.raises(TypeError, match=r"instance of their classes, such as Portfolio\(\)"):
            client.optimize(two_state(), method=bilevel.Portfolio)
        with pytest.raises(ValueError, match="adjoint_step is 'newton'"):
            client.optimize(two_state(), method=bilevel.MSobirl(adjoint_step="newton"))


def test_the_environment_names_the_server(server, monkeypatch):
    monkeypatch.setenv("BILEVEL_SERVER", server.address)
    with bilevel.Client() as client:
        assert client.health() == "SERVING"
    with bilevel.Client("127.0.0.1:1") as client:
        assert client.target == "127.0.0.1:1"


def test_proxies_are_not_asked_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with bilevel.Client(server.address) as client:
        assert client.health(timeout=5) == "SERVING"


def test_servers_that_cannot_start_or_be_found_say_so(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="exited with"):
        bilevel.Server(flags=["--threads=-1"])
    monkeypatch.delenv("BILEVEL_SERVER_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="BILEVEL_SERVER_BINARY"):
        bilevel.Server()


def test_a_stopped_server_is_gone():
    server = bilevel.Server()
    with bilevel.Client(server.address, max_attempts=1) as client:
        assert client.health() == "SERVING"
        server.close()
        with pytest.raises(bilevel.Unavailable):
            client.health(timeout=5)

"""A server for the whole run; BILEVEL_SERVER_BINARY and BILEVEL_BINARY name the programs."""

import os
import subprocess
import threading
import time

import numpy as np
import pytest
from fake_session import Fake

import bilevel


@pytest.fixture(scope="session")
def server():
    with bilevel.Server(flags=["--threads=2"]) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    with bilevel.Client(server.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def cli():
    """Runs `bilevel` with arguments; its standard output."""

    def run(*arguments, **options):
        command = [os.environ["BILEVEL_BINARY"], *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout

    return run


@pytest.fixture
def rng():
    return np.random.default_rng(20240519)


@pytest.fixture
def fake():
    """A server of one session whose failures are made to order."""
    with Fake() as running:
        yield running


@pytest.fixture
def session(fake):
    """Its session."""
    with bilevel.Client(fake.address) as connected:
        yield connected.session("fake")


@pytest.fixture
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while True:
        left = [thread for thread in threading.enumerate() if thread not in before]
        left = [thread for thread in left if thread.name.startswith("bilevel")]
        if not left:
            return
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.01)

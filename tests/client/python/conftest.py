"""A server for the whole run; BILEVEL_SERVER_BINARY and BILEVEL_BINARY name the programs."""

import os
import subprocess

import numpy as np
import pytest

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

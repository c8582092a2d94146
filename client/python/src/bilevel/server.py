"""A local bilevel_server for notebooks and tests."""

from __future__ import annotations

import atexit
import os
import pathlib
import shutil
import subprocess
from typing import Any, Optional, Sequence


class Server:
    """Starts bilevel_server on a free loopback port and stops it on close, at the end of a `with` block, or at exit.

    binary: default $BILEVEL_SERVER_BINARY, else bilevel_server on the PATH, else .build/release/bin/bilevel_server in
    the current folder or one above it. flags: further flags, for example ["--threads=1"].

        with bilevel.Server() as server, bilevel.Client(server.address) as client:
            ...
    """

    address: str  # host:port

    def __init__(self, binary: Optional[str] = None, flags: Sequence[str] = ()) -> None:
        command = [binary or find_server(), "--listen=127.0.0.1:0", "--ephemeral", "--drain_delay=0s", *flags]
        # In a session of its own: Ctrl-C is for the program that uses it.
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} exited with {self._process.wait()}")
        self.address = line.split()[-1]
        atexit.register(self.close)

    def close(self) -> None:
        """Stops the server."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def find_server() -> str:
    """Path of the bilevel_server that Server starts by default. FileNotFoundError when there is none."""
    named = os.environ.get("BILEVEL_SERVER_BINARY")
    if named:
        return named
    found = shutil.which("bilevel_server")
    if found:
        return found
    here = pathlib.Path.cwd()
    for folder in (here, *here.parents):
        built = folder / ".build" / "release" / "bin" / "bilevel_server"
        if built.is_file():
            return str(built)
    raise FileNotFoundError(
        "no bilevel_server: put it on the PATH, name it in BILEVEL_SERVER_BINARY, or build the repository "
        "(client/demo.sh)"
    )

"""Every Python snippet of client/python/README.md, one after the other, as a reader would run them."""

import importlib.util
import pathlib
import re

import pytest

README = pathlib.Path(__file__).resolve().parents[3] / "client" / "python" / "README.md"


def test_the_snippets_run(capsys):
    snippets = re.findall(r"^```python ?(\w*)\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 7
    names = {"__name__": "readme"}
    printed = []
    for needs, code in snippets:
        if needs and importlib.util.find_spec(needs) is None:
            continue  # the other of the two test runs has it
        exec(compile(code, str(README), "exec"), names)
        # A comment below a print is what it prints.
        printed += re.findall(r"^ *print\(.*\)\n *# (.*)$", code, re.MULTILINE)
    out = capsys.readouterr().out
    assert "problem.contexts[0].discount is 1; must be in [0, 1)" in out
    assert "CONVERGED [-0.567143" in out
    assert len(printed) >= 4
    for line in printed:
        assert line + "\n" in out


def test_the_torch_example_runs(server, capsys):
    pytest.importorskip("torch")
    example = README.parent / "examples" / "congestion_tolls.py"
    names = {"__name__": "example"}
    exec(compile(example.read_text(), str(example), "exec"), names)
    import bilevel

    with bilevel.Client(server.address) as client:
        assert names["main"](client) == 0
    assert "share of the short road 0.500" in capsys.readouterr().out

"""Pictures: the command line's SVG, and matplotlib's."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from two_state import two_state

import bilevel

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def files(cli, server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "rooms.json").write_text(cli("example", "four-rooms"))
    return folder


def test_the_map_has_a_cell_for_each_state_and_the_taxes(cli, server, files):
    rooms = files / "rooms.json"
    text = cli("--server", server.address, "show", str(rooms))
    assert text.count("#############") == 4 and "goal (11,11)" in text
    root = ElementTree.fromstring(cli("--server", server.address, "show", "--svg", str(rooms)))
    # Two maps: the background, two walls, 104 cells each.
    assert len(root.findall(f"{SVG}rect")) == 1 + 2 * (1 + 104)
    # Every cell but the goal is taxed at x = 0.
    assert len(root.findall(f"{SVG}circle")) == 2 * 103


def test_the_plot_has_objective_norm_and_bound(cli, server, files, tmp_path):
    problem, plot = tmp_path / "two.json", tmp_path / "plot.svg"
    problem.write_text(two_state().to_json())
    cli("--server", server.address, "optimize", str(problem), "--plot", str(plot))
    curves = ElementTree.parse(plot).getroot().findall(f"{SVG}polyline")
    assert [len(curve.get("points").split()) > 2 for curve in curves] == [True] * 3


def test_what_has_no_grid_has_no_map(cli, server, tmp_path):
    import subprocess

    problem = tmp_path / "two.json"
    problem.write_text(two_state().to_json())
    with pytest.raises(subprocess.CalledProcessError) as error:
        cli("--server", server.address, "show", str(problem))
    assert error.value.returncode == 2 and "has no grid" in error.value.stderr


def test_matplotlib_draws_the_same(client, cli, files):
    pytest.importorskip("matplotlib")
    import bilevel.plot

    problem = bilevel.Problem.from_json((files / "rooms.json").read_text())
    assert problem.contexts[0].mdp.grid.rows == 13
    figure = bilevel.plot.show(client, problem)
    assert len([axes for axes in figure.axes if axes.get_title()]) == 2
    result = client.optimize(two_state(), [2.0], return_history=True, certify_progress=True).result()
    curves = bilevel.plot.history(result).axes[1].get_lines()
    assert len(curves[0].get_ydata()) == result.iterations + 1
    assert np.isfinite(curves[1].get_ydata()).all() and len(curves[1].get_ydata()) > 2
    with pytest.raises(ValueError, match="return_history"):
        bilevel.plot.history(client.optimize(two_state(), [2.0]).result())
    with pytest.raises(ValueError, match="has no grid"):
        bilevel.plot.show(client, two_state())

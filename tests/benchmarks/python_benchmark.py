"""python_benchmark.py BINARIES SERVER_ADDRESS: what Python adds to a hyper-gradient, and how fast arrays cross.

Four-Rooms as in four_rooms_benchmark: x moved by 1e-3 N(0,1) each time, warm start sent. Python's rounds lie between
runs of the C++ client in the same minute; medians are printed. Limit: 500 us over the C++ client.
"""

import subprocess
import sys
import time

import numpy as np

import bilevel
from bilevel import v1
from bilevel.arrays import from_array, to_array

ROUNDS = 400
SEGMENTS = 3
TEMPERATURE = "0.001"


def cpp_loopback(binaries, address):
    """Median microseconds of the C++ client at the first temperature."""
    lines = subprocess.run([f"{binaries}/four_rooms_benchmark", address], capture_output=True, text=True, check=True)
    header, first = lines.stdout.splitlines()[:2]
    assert first.split()[0] == TEMPERATURE and "loopback us" in header
    return float(first.split()[4])


def python_loopback(binaries, address):
    command = [f"{binaries}/bilevel", "example", "four-rooms", "--temperature", TEMPERATURE]
    problem = bilevel.Problem.from_json(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Raw arrays, as programs send them.
    problem = bilevel.Problem(problem.contexts, problem.num_parameters, problem.parameter_groups, sense=problem.sense)
    rng = np.random.default_rng(1)
    x = np.zeros(problem.num_parameters)
    seconds = []
    with bilevel.Client(address) as client:
        warm = client.evaluate_hypergradient(problem, x, return_warm_start=True).warm_start
        for _ in range(ROUNDS):
            x = x + 1e-3 * rng.normal(size=x.size)
            begin = time.perf_counter()
            point = client.evaluate_hypergradient(problem, x, warm_start=warm, return_warm_start=True)
            seconds.append(time.perf_counter() - begin)
            warm = point.warm_start
    return 1e6 * float(np.median(seconds))


def main(binaries, address):
    cpp, python = [cpp_loopback(binaries, address)], []
    for _ in range(SEGMENTS):
        python.append(python_loopback(binaries, address))
        cpp.append(cpp_loopback(binaries, address))
    print("Four-Rooms, us: C++", *(f"{t:.0f}" for t in cpp), " Python", *(f"{t:.0f}" for t in python), end="; ")
    print(f"overhead {np.median(python) - np.median(cpp):.0f} us (limit 500)")
    numbers = np.random.default_rng(1).normal(size=10_000_000 // 8)
    begin = time.perf_counter()
    for _ in range(20):
        back = from_array(v1.Array.FromString(to_array(numbers).SerializeToString()))
    seconds = (time.perf_counter() - begin) / 20
    assert (back == numbers).all()
    print(f"10 MB into a message, onto the wire and back: {1e3 * seconds:.1f} ms, {10 / seconds:.0f} MB/s")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a competent user of SciPy and NumPy would write, on the problems that the suite hands over as files.

    peers.py solve METHOD DIRECTORY STATES ACTIONS DISCOUNT TEMPERATURE   METHOD: iteration, value
    peers.py dense DIRECTORY STATES DISCOUNT

Prints rows as suite/row.h has them. Soft policy iteration with bicgstab, incomplete LU where plain bicgstab is slow;
soft value iteration with the span bound. Each to a residual |V - T V| of 1e-8, on one thread; the best of several
runs, as the suite's own (MeasureSolve).
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import sys  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402
import scipy.sparse as sparse  # noqa: E402
import scipy.sparse.linalg as linalg  # noqa: E402

TOLERANCE = 1e-8
TIME_LIMIT = 300.0
MOST_PLAIN_ITERATIONS = 200
MOST_ROUNDS, ENOUGH_SECONDS = 10, 1.0


def print_row(**fields):
    print("\t".join(["ROW"] + [f"{key}={value}" for key, value in fields.items()]), flush=True)


class Problem:
    def __init__(self, directory, states, actions, discount, temperature):
        def read(name, dtype):
            return np.fromfile(os.path.join(directory, name), dtype=dtype)

        self.states, self.actions = states, actions
        self.discount, self.temperature = discount, temperature
        arrays = (read("probabilities", "f8"), read("columns", "u4").astype("i4"), read("offsets", "u8").astype("i4"))
        self.transitions = sparse.csr_matrix(arrays, shape=(states * actions, states))
        self.reward = read("rewards", "f8")
        self.sweeps = 0

    def backup(self, value):
        """T V and the policy."""
        self.sweeps += 1
        q = (self.reward + self.discount * (self.transitions @ value)).reshape(self.states, self.actions)
        q /= self.temperature
        top = q.max(axis=1)
        weights = np.exp(q - top[:, None])
        total = weights.sum(axis=1)
        return self.temperature * (top + np.log(total)), weights / total[:, None]


def value_iteration(problem):
    value, start = np.zeros(problem.states), time.perf_counter()
    while True:
        after, _ = problem.backup(value)
        step = after - value
        # MacQueen's bounds: the middle of the span is added at once.
        reach = problem.discount * (step.max() - step.min()) / 2
        if reach <= TOLERANCE:
            return after + problem.discount / (1 - problem.discount) * (step.max() + step.min()) / 2
        value = after
        if time.perf_counter() - start > TIME_LIMIT:
            return value


def solve_system(system, right, tolerance, plain):
    """A solution, and whether plain bicgstab was enough."""
    options = {"tol": 0, "atol": tolerance}
    if plain:
        answer, failed = linalg.bicgstab(system, right, maxiter=MOST_PLAIN_ITERATIONS, **options)
        if not failed:
            return answer, True
    factors = linalg.spilu(system.tocsc(), drop_tol=1e-3, fill_factor=5)
    inverse = linalg.LinearOperator(system.shape, factors.solve)
    answer, _ = linalg.bicgstab(system, right, M=inverse, maxiter=2000, **options)
    return answer, False


def policy_iteration(problem):
    states, actions = problem.states, problem.actions
    identity = sparse.identity(states, format="csr")
    rows = np.arange(0, states * actions + 1, actions, dtype="i4")
    columns = np.arange(states * actions, dtype="i4")
    value, plain, start = np.zeros(states), True, time.perf_counter()
    for _ in range(10):
        value, _ = problem.backup(value)
    best = np.inf
    while True:
        after, policy = problem.backup(value)
        step = after - value
        residual = np.abs(step).max()
        if residual <= TOLERANCE or time.perf_counter() - start > TIME_LIMIT:
            return value
        if residual > 0.9 * best:  # Newton's method does not get on: more sweeps first
            for _ in range(50):
                value, _ = problem.backup(value)
            best = np.inf
            continue
        best = residual
        choose = sparse.csr_matrix((policy.ravel(), columns, rows), shape=(states, states * actions))
        system = identity - problem.discount * (choose @ problem.transitions)
        move, plain = solve_system(system, step, max(0.1 * TOLERANCE, 1e-3 * residual), plain)
        value = value + move


def solve(method, directory, states, actions, discount, temperature):
    problem = Problem(directory, states, actions, discount, temperature)
    taken = []
    while not taken or (sum(taken) < ENOUGH_SECONDS and len(taken) < MOST_ROUNDS):
        problem.sweeps = 0
        start = time.perf_counter()
        value = (value_iteration if method == "value" else policy_iteration)(problem)
        taken.append(time.perf_counter() - start)
    sweeps = problem.sweeps
    residual = np.abs(problem.backup(value)[0] - value).max()
    note = "" if residual <= TOLERANCE else f"residual {residual:.1e}"
    print_row(seconds=min(taken), sweeps=sweeps, bound=residual / (1 - discount), note=note)


class Dense:
    """One exact outer iteration of DENSE-SOBIRL, vectorised (suite/dense_sobirl.h)."""

    def __init__(self, directory, states, discount):
        def read(name, *shape):
            return np.fromfile(os.path.join(directory, name), dtype="f8").reshape(shape)

        self.states, self.discount = states, discount
        self.transitions = read("transitions", states, -1, states)
        self.coefficient = read("coefficient", states, -1)
        self.matrix = read("matrix", 100, 100)
        self.x = read("start", 100)
        self.value = np.zeros(states)

    def gradient(self):
        gamma, identity = self.discount, np.eye(self.states)
        slope = self.matrix @ self.x + self.matrix.T @ self.x
        reward = self.coefficient * (0.5 * self.x @ slope)
        for _ in range(50):
            q = reward + gamma * (self.transitions @ self.value)
            top = q.max(axis=1)
            weights = np.exp(q - top[:, None])
            total = weights.sum(axis=1)
            policy = weights / total[:, None]
            step = top + np.log(total) - self.value
            system = identity - gamma * np.einsum("sa,sat->st", policy, self.transitions)
            if np.abs(step).max() <= 1e-10 * np.abs(reward).max():
                break
            self.value = self.value + np.linalg.solve(system, step)
        y = policy * policy
        centered = y - policy * y.sum(axis=1, keepdims=True)
        right = -gamma * np.tensordot(centered, self.transitions, 2)
        adjoint = np.linalg.solve(system.T, right)
        weight = centered - policy * adjoint[:, None]
        return self.x + slope * np.sum(self.coefficient * weight)


def dense(directory, states, discount):
    seconds = []
    for _ in range(8):
        problem = Dense(directory, states, discount)
        gradient = problem.gradient()
        for _ in range(40):
            problem.x = problem.x - 8e-3 * gradient
            start = time.perf_counter()
            gradient = problem.gradient()
            seconds.append(time.perf_counter() - start)
    print_row(seconds=np.median(seconds), products=np.linalg.norm(problem.x))


if __name__ == "__main__":
    if sys.argv[1] == "dense":
        dense(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        solve(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]), float(sys.argv[7]))

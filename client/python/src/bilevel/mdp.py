"""Environments: transition probabilities as dense or sparse NumPy arrays, from dictionaries, from Gymnasium."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import numpy.typing as npt

from bilevel import _json, v1
from bilevel.arrays import FloatArray, from_array, to_array


class Csr(NamedTuple):
    """Compressed sparse rows; scipy.sparse matrices are taken wherever these are."""

    offsets: npt.NDArray[np.uint64]  # [rows + 1]
    columns: npt.NDArray[np.uint32]  # [entries], sorted and unique in each row
    values: FloatArray  # [entries]
    shape: Tuple[int, int]


def is_sparse(matrix: Any) -> bool:
    """Whether it is a Csr or a scipy.sparse matrix."""
    return isinstance(matrix, Csr) or hasattr(matrix, "tocsr")


def _csr(matrix: Any) -> Csr:
    if isinstance(matrix, Csr):
        return matrix
    rows = matrix.tocsr(copy=True)
    rows.sum_duplicates()  # sorts, too
    return Csr(rows.indptr, rows.indices, rows.data, rows.shape)


def matrix_to_proto(matrix: Any) -> Any:
    """A bilevel.v1.Matrix: dense, or sparse from a Csr or a scipy.sparse matrix."""
    if not is_sparse(matrix):
        return v1.Matrix(dense=to_array(matrix))
    rows = _csr(matrix)
    return v1.Matrix(
        sparse=v1.SparseMatrix(
            rows=rows.shape[0],
            cols=rows.shape[1],
            offsets=to_array(rows.offsets, "u8"),
            columns=to_array(rows.columns, "u4"),
            values=to_array(rows.values),
        )
    )


def matrix_from_proto(message: Any) -> Any:
    """A Csr, or a dense array."""
    if message.WhichOneof("storage") != "sparse":
        return from_array(message.dense)
    sparse = message.sparse
    return Csr(
        from_array(sparse.offsets), from_array(sparse.columns), from_array(sparse.values), (sparse.rows, sparse.cols)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Where the states lie on a map, for pictures; without effect on any answer."""

    rows: int
    cols: int
    cells: npt.ArrayLike  # [S], row * cols + col
    moves: Optional[npt.ArrayLike] = None  # [A, 2]: (rows down, columns right) of each action

    def to_proto(self) -> Any:
        message = v1.GridLayout(rows=self.rows, cols=self.cols, cells=to_array(self.cells, "u4"))
        if self.moves is not None:
            message.moves.CopyFrom(to_array(np.asarray(self.moves, dtype=np.float64)))
        return message

    @staticmethod
    def from_proto(message: Any) -> "Grid":
        moves = from_array(message.moves).reshape(-1, 2) if message.HasField("moves") else None
        return Grid(message.rows, message.cols, from_array(message.cells), moves)


# {state: {action: {next state: probability}}}; states and actions are numbers.
Table = Mapping[int, Mapping[int, Mapping[int, float]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Mdp:
    """S states, A actions and where they lead. Row sums + termination probability = 1 within 1e-9.

    A session learns where they lead: `Mdp(num_states=S, num_actions=A)` is an environment whose transitions nobody knows.
    """

    # [S, A, S], or sparse with rows s * A + a: [S * A, S]; then num_actions is needed. None: not known.
    transitions: Any = None
    # [S, A]: probability that the episode ends after this step. Default: zeros.
    termination_probability: Optional[npt.ArrayLike] = None
    # [S, A], true where the action exists. Default: everywhere.
    available_actions: Optional[npt.ArrayLike] = None
    # [S]. Default: uniform.
    initial_distribution: Optional[npt.ArrayLike] = None
    # A; read off dense transitions.
    num_actions: int = 0
    # [S, A]: the reward that the environment came with, if any; for Reward(base=mdp.reward), not used by itself.
    reward: Optional[FloatArray] = None
    grid: Optional[Grid] = None
    # S; read off transitions.
    num_states: int = 0
    # environments/{SHA-256}: one that was uploaded (Client.upload_environment). The server then takes that one, whatever
    # else stands here for pictures and the caller's own use.
    name: str = ""

    def __post_init__(self) -> None:
        if self.transitions is None:
            if self.name:
                return
            if self.num_states < 1 or self.num_actions < 1:
                raise ValueError(
                    f"num_states is {self.num_states} and num_actions {self.num_actions}; without transitions both must "
                    "be given"
                )
            return
        if is_sparse(self.transitions):
            rows = _csr(self.transitions)
            object.__setattr__(self, "transitions", rows)
            if self.num_actions < 1 or rows.shape[0] % self.num_actions:
                raise ValueError(
                    f"num_actions is {self.num_actions}; sparse transitions with {rows.shape[0]} rows need the number "
                    "of actions, which divides them"
                )
            object.__setattr__(self, "num_states", rows.shape[0] // self.num_actions)
            return
        dense = np.asarray(self.transitions)
        if dense.ndim != 3 or dense.shape[0] != dense.shape[2]:
            raise ValueError(f"transitions have shape {dense.shape}; must be [S, A, S]")
        object.__setattr__(self, "transitions", dense)
        object.__setattr__(self, "num_actions", dense.shape[1])
        object.__setattr__(self, "num_states", dense.shape[0])

    @functools.cached_property
    def _message(self) -> Any:
        message = v1.Environment(num_states=self.num_states, num_actions=self.num_actions)
        if self.transitions is not None:
            message.transitions.CopyFrom(matrix_to_proto(self.transitions))
        if self.termination_probability is not None:
            message.termination_probability.CopyFrom(to_array(self.termination_probability))
        if self.available_actions is not None:
            message.available_actions.CopyFrom(to_array(np.asarray(self.available_actions, dtype=bool), "u1"))
        if self.initial_distribution is not None:
            message.initial_distribution.CopyFrom(to_array(self.initial_distribution))
        if self.grid is not None:
            message.grid.CopyFrom(self.grid.to_proto())
        return message

    def to_proto(self) -> Any:
        """The message on the wire; not to be changed."""
        return self._message

    def to_json(self) -> str:
        """The environment as it stands in a problem's JSON."""
        return _json.to_json(self._message)

    @staticmethod
    def from_json(text: str) -> "Mdp":
        """Reads what to_json wrote, or a person. ValueError when it is no environment."""
        return Mdp.from_proto(_json.from_json(text, v1.Environment()))

    @staticmethod
    def from_proto(message: Any) -> "Mdp":
        """Reads a bilevel.v1.Environment."""
        S, A = message.num_states, message.num_actions
        transitions = None
        if message.HasField("transitions") or S < 1 or A < 1:
            transitions = matrix_from_proto(message.transitions)
        if transitions is not None and not isinstance(transitions, Csr):
            transitions = transitions.reshape(S, A, S)

        def optional(name: str, *shape: int) -> Optional[npt.NDArray[Any]]:
            return from_array(getattr(message, name), shape) if message.HasField(name) else None

        mask = optional("available_actions", S, A)
        return Mdp(
            transitions,
            termination_probability=optional("termination_probability", S, A),
            available_actions=None if mask is None else mask.astype(bool),
            initial_distribution=optional("initial_distribution", S),
            num_actions=A,
            num_states=S,
            grid=Grid.from_proto(message.grid) if message.HasField("grid") else None,
        )

    @staticmethod
    def from_dict(table: Table, initial_distribution: Optional[npt.ArrayLike] = None) -> "Mdp":
        """From {state: {action: {next state: probability}}}.

        What a row lacks to one is the probability that the episode ends. Actions that a state does not list are not
        available there.
        """
        num_actions = 1 + max((action for row in table.values() for action in row), default=0)
        entries = [
            (state, action, target, probability)
            for state, row in table.items()
            for action, targets in row.items()
            for target, probability in targets.items()
        ]
        listed = [(state, action) for state, row in table.items() for action in row]
        return _from_entries(len(table), num_actions, entries, listed, initial_distribution)

    @staticmethod
    def from_gymnasium(env: Any) -> "Mdp":
        """From a Gymnasium environment that exposes its table (FrozenLake, Taxi, CliffWalking).

        Steps that end the episode become termination probability. `reward` holds the expected reward of each pair,
        `initial_distribution` the environment's where it has one.
        """
        base = env.unwrapped
        table = getattr(base, "P", None)
        if table is None:
            raise ValueError(f"{type(base).__name__} exposes no table P of its transitions")
        num_states, num_actions = int(base.observation_space.n), int(base.action_space.n)
        entries: list[Tuple[int, int, int, float]] = []
        reward = np.zeros((num_states, num_actions))
        for state in range(num_states):
            for action in range(num_actions):
                for probability, target, paid, ends in table[state][action]:
                    reward[state, action] += probability * paid
                    if not ends:
                        entries.append((state, action, int(target), float(probability)))
        listed = [(state, action) for state in range(num_states) for action in range(num_actions)]
        start = getattr(base, "initial_state_distrib", None)
        if start is not None:
            start = np.asarray(start, dtype=np.float64) / np.sum(start)
        mdp = _from_entries(num_states, num_actions, entries, listed, start)
        return dataclasses.replace(mdp, reward=reward, grid=_gymnasium_grid(base, num_states, num_actions))


def _gymnasium_grid(base: Any, num_states: int, num_actions: int) -> Optional[Grid]:
    """Of FrozenLake and CliffWalking, whose states are the cells of a map, row by row."""
    shape = getattr(base, "shape", None) or getattr(getattr(base, "desc", None), "shape", None)
    if shape is None or len(shape) != 2 or shape[0] * shape[1] != num_states or num_actions != 4:
        return None
    left, down, right, up = (0, -1), (1, 0), (0, 1), (-1, 0)
    # FrozenLake numbers its actions left, down, right, up; CliffWalking up, right, down, left.
    moves = (left, down, right, up) if hasattr(base, "desc") else (up, right, down, left)
    return Grid(int(shape[0]), int(shape[1]), np.arange(num_states), moves)


def _from_entries(
    num_states: int,
    num_actions: int,
    entries: Iterable[Tuple[int, int, int, float]],
    listed: Iterable[Tuple[int, int]],
    initial_distribution: Optional[npt.ArrayLike],
) -> Mdp:
    sums: dict[Tuple[int, int], float] = {}
    for state, action, target, probability in entries:
        if not (0 <= state < num_states and 0 <= target < num_states and 0 <= action < num_actions):
            raise ValueError(
                f"state {state}, action {action} leads to {target}; states must be 0 ... {num_states - 1}, "
                f"actions 0 ... {num_actions - 1}"
            )
        key = (state * num_actions + action, target)
        sums[key] = sums.get(key, 0.0) + probability
    keys = sorted(sums)
    rows = np.array([row for row, _ in keys], dtype=np.int64)
    values = np.array([sums[key] for key in keys], dtype=np.float64)
    num_rows = num_states * num_actions
    offsets = np.zeros(num_rows + 1, dtype=np.uint64)
    offsets[1:] = np.cumsum(np.bincount(rows, minlength=num_rows))
    columns = np.array([target for _, target in keys], dtype=np.uint32)
    mask = np.zeros((num_states, num_actions), dtype=bool)
    for state, action in listed:
        if not 0 <= state < num_states:
            raise ValueError(f"state {state} is listed; states must be 0 ... {num_states - 1}")
        mask[state, action] = True
    stay = np.bincount(rows, weights=values, minlength=num_rows).reshape(num_states, num_actions)
    if stay.size and stay.max() > 1 + 1e-9:
        state, action = divmod(int(stay.argmax()), num_actions)
        raise ValueError(
            f"probabilities of state {state}, action {action} sum to {stay.max():.12g}; at most 1 is allowed"
        )
    # Roundings of a sum of probabilities are no termination.
    end = np.where(np.abs(1 - stay) < 1e-12, 0.0, 1 - stay)
    return Mdp(
        Csr(offsets, columns, values, (num_rows, num_states)),
        termination_probability=np.where(mask, end, 0.0) if end[mask].any() else None,
        available_actions=None if mask.all() else mask,
        initial_distribution=initial_distribution,
        num_actions=num_actions,
    )

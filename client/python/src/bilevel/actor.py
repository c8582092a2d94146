"""An environment whose follower is the server: observations in, actions out, and the session learns from every step.

    with session.actor() as actor:
        action = actor.start(episode, state)
        while action is not None:
            state, kind = my_world.step(action)
            action = actor.step(episode, state, kind)
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Iterator, List, Literal, NamedTuple, Optional, Sequence

import grpc

from bilevel import _columns, v1
from bilevel._link import Connection, Link, _same
from bilevel.errors import Aborted, BilevelError, Rejected, from_status
from bilevel.writer import Kind


class Drawn(NamedTuple):
    """How the last action was drawn."""

    log_probability: float  # exploration included
    policy_version: int  # 0: no policy yet, uniform


class Walk(NamedTuple):
    """What an environment is asked for when an episode ended: to go on from one of its steps once more."""

    kind: str  # "from_choice": by the action that was taken there; "from_state": as the follower chooses
    of_episode: int
    state: int  # where it begins
    context: int


class Actor(Link):
    """An environment of a session whose follower is simulated: `session.actor()`. Use it in a `with` block.

    writer_id: one of the session's writers, whose transitions these become. exploration: "none", "uniform" or
    "least_tried", what is tried with probability `share` in place of the policy's action. walks: the environment can be
    set to any state; after each episode `walks` has what it is asked for, and estimators take critic="continuations".
    timeout: a call gives up when the server answered nothing for so many seconds.

    Connections may break: an observation that was seen before gets the same action again. A call that raises
    DeadlineExceeded may be made again with the same arguments. One observation is on its way at a time; episodes may
    interleave. There is one background thread, which ends with close(); gRPC keeps another for each stream.
    """

    def __init__(
        self,
        start: Callable[[Iterator[Any]], Any],
        session: str,
        writer_id: str = "default",
        *,
        exploration: Literal["none", "uniform", "least_tried"] = "none",
        share: Optional[float] = None,
        walks: bool = False,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(f"actor {writer_id} of {session}", start, timeout)
        self._open_actor = v1.OpenActor(session=session, writer_id=writer_id, walks=walks)
        if exploration != "none" or share is not None:
            if exploration not in ("none", "uniform", "least_tried"):
                raise ValueError(f"exploration is {exploration!r}; must be none, uniform or least_tried")
            kind = v1.Exploration.Kind.Value(f"KIND_{exploration.upper()}")
            self._open_actor.exploration.CopyFrom(v1.Exploration(kind=kind, share=share))
        self._accepted = 0
        self._sequence = 0  # of the last observation that was answered
        self._pending: Any = None  # the observation that waits for its action
        self._sent_on: Optional[Connection] = None
        self._answer: Any = None
        self._rejection: Optional[Rejected] = None
        self._drawn: Optional[Drawn] = None
        self._walks: List[Walk] = []
        self._open()

    @property
    def accepted(self) -> int:
        """Number of the last transition that the server has accepted."""
        return self._accepted

    @property
    def drawn(self) -> Optional[Drawn]:
        """How the last action was drawn."""
        return self._drawn

    @property
    def walks(self) -> List[Walk]:
        """What was asked for when the last episode ended; of a walk's end, nothing."""
        return list(self._walks)

    def start(
        self,
        episode: int,
        state: int,
        context: int = 0,
        features: Sequence[float] = (),
        walk: Optional[Walk] = None,
        timeout: Optional[float] = None,
    ) -> int:
        """An episode, or a walk that was asked for, begins in this state: the action to take.

        A walk goes on until step() returns None, and needs a number that is free.
        """
        observation = v1.Observation(
            episode_id=_columns.whole("episode", episode, "<u8"),
            state=_columns.whole("state", state, "<u4"),
            context=_columns.whole("context", context, "<u4"),
            features=features,
        )
        if walk is not None:
            observation.walk_kind = v1.Walk.Kind.Value(f"KIND_{walk.kind.upper()}")
            observation.walk_of = walk.of_episode
        action = self._observe(observation, timeout)
        assert action is not None
        return action

    def step(
        self,
        episode: int,
        state: int,
        kind: Kind = "running",
        leader_reward: Optional[float] = None,
        features: Sequence[float] = (),
        timeout: Optional[float] = None,
    ) -> Optional[int]:
        """Where the last action has led: the next action, or None where the episode ended ("terminated", "truncated").

        A walk ends here, too, when the server says so.
        """
        observation = v1.Observation(
            sequence=self._sequence + 1,
            episode_id=_columns.whole("episode", episode, "<u8"),
            state=_columns.whole("state", state, "<u4"),
            step_kind=_columns.kind_number(kind),
            leader_reward=leader_reward,
            features=features,
        )
        return self._observe(observation, timeout)

    def __enter__(self) -> "Actor":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _observe(self, observation: Any, timeout: Optional[float]) -> Optional[int]:
        with self._changed:
            self._check()
            if self._pending is None:
                self._pending, self._sent_on, self._answer, self._rejection = observation, None, None, None
                self._changed.notify_all()
            elif self._pending != observation:
                raise ValueError("an earlier observation waits for its answer: call again with the same arguments")
            self._await(
                lambda: self._answer is not None or self._rejection is not None,
                timeout,
                lambda: "the server did not answer the observation",
            )
            self._pending = None
            if self._rejection is not None:
                raise self._rejection
            answer = self._answer
            self._sequence = max(self._sequence, observation.sequence)
            if answer.ended:
                self._walks = [_walk(message) for message in answer.walks]
                return None
            self._drawn = Drawn(answer.log_probability, int(answer.policy_version))
            return int(answer.action)

    # Under the lock.

    def _opening(self) -> Any:
        return v1.ActRequest(open=self._open_actor)

    def _next(self, connection: Connection) -> Optional[Callable[[], Any]]:
        answered = self._answer is not None or self._rejection is not None
        if self._pending is None or answered or self._sent_on is connection:
            return None
        self._sent_on = connection
        return functools.partial(_same, v1.ActRequest(observation=self._pending))

    def _finish_request(self) -> Any:
        return v1.ActRequest(finish=v1.FinishWriter(last_sequence=self._sequence))

    def _receive(self, connection: Connection, message: Any) -> bool:
        kind = message.WhichOneof("message")
        if kind == "opened":
            self._resume(message.opened.accepted_sequence)
            connection.opened = True
        elif kind == "action":
            self._accepted = message.action.accepted_sequence
            pending = self._pending
            if self._sent_on is connection and pending is not None and pending.episode_id == message.action.episode_id:
                self._answer = message.action
                self._progress += 1
        elif kind == "rejected":
            self._reject(message.rejected)
        elif kind == "draining":
            delay = message.draining.retry_delay
            connection.retry_delay = delay.seconds + 1e-9 * delay.nanos
        return True

    def _resume(self, accepted: int) -> None:
        if not self._opened:
            self._opened = True
            self._sequence = accepted
        # The one that waits for its answer may have been taken.
        elif accepted < self._sequence:
            raise BilevelError(
                f"the server fell back to transition {accepted}; {self._sequence} were made here",
                grpc.StatusCode.DATA_LOSS,
            )
        elif accepted > self._sequence + 1:
            raise Aborted(
                f"the server has {accepted} transitions of this writer, and {self._sequence + 1} were made here at most: "
                "somebody else acts in its name",
                grpc.StatusCode.ABORTED,
            )
        self._accepted = accepted

    def _reject(self, rejected: Any) -> None:
        if self._pending is None or self._finishing:
            raise from_status(rejected.status)
        error = from_status(rejected.status, Rejected)
        assert isinstance(error, Rejected)
        error.sequence = int(self._pending.sequence)
        error.transition = {field.name: value for field, value in self._pending.ListFields()}
        self._rejection = error


def _walk(message: Any) -> Walk:
    kind = v1.Walk.Kind.Name(message.kind).replace("KIND_", "").lower()
    return Walk(kind, int(message.of_episode), int(message.state), int(message.context))


class Episode(NamedTuple):
    """What an environment of Gymnasium's kind went through."""

    states: List[int]
    actions: List[int]
    rewards: List[float]
    kind: str  # how it ended: terminated or truncated


def run_episode(
    actor: Actor,
    environment: Any,
    episode: int,
    *,
    context: int = 0,
    max_steps: Optional[int] = None,
    leader_reward: Optional[Callable[[int, int, int, float], float]] = None,
    **reset: Any,
) -> Episode:
    """Runs one episode of a Gymnasium environment, or of anything with its reset(**reset) and step(action).

    Observations are numbers of states. leader_reward(state, action, next_state, reward), where given, makes the samples
    of the leader's reward. Stops as truncated after max_steps.

    Of an actor with walks the environment needs set_state(state) as well: the walks that the episode's end asks for are
    run at once, under its number, and must not be truncated by the environment.
    """
    state = int(environment.reset(**reset)[0])
    result = _run(actor, environment, episode, actor.start(episode, state, context), state, max_steps, leader_reward)
    for walk in actor.walks:
        environment.set_state(walk.state)
        action = actor.start(episode, walk.state, walk.context, walk=walk)
        _run(actor, environment, episode, action, walk.state, None, leader_reward)
    return result


def _run(
    actor: Actor,
    environment: Any,
    episode: int,
    first: int,
    state: int,
    max_steps: Optional[int],
    leader_reward: Optional[Callable[[int, int, int, float], float]],
) -> Episode:
    action: Optional[int] = first
    result = Episode([state], [], [], "running")
    kind: Literal["running", "terminated", "truncated"] = "running"
    while action is not None:
        observation, reward, terminated, truncated, _ = environment.step(action)
        following = int(observation)
        cut = max_steps is not None and len(result.actions) + 1 >= max_steps
        kind = "terminated" if terminated else "truncated" if truncated or cut else "running"
        sample = None if leader_reward is None else leader_reward(state, action, following, float(reward))
        result.actions.append(action)
        result.rewards.append(float(reward))
        result.states.append(following)
        state = following
        action = actor.step(episode, state, kind, sample)
    return result._replace(kind=kind)

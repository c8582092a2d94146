"""A SessionService in Python whose failures are made to order, and a proxy that cuts connections."""

import contextlib
import random
import socket
import threading
import time
from concurrent import futures

import grpc
import numpy as np

from bilevel import v1
from bilevel.arrays import from_array

UNIMPLEMENTED = (grpc.StatusCode.UNIMPLEMENTED, "not here")


class Fake:
    """One session "sessions/fake". What writers sent is in `rows`; knobs may be turned while it runs."""

    def __init__(self, window=4000, cut=0.0, durable_lag=0, seed=0):
        self.window = window  # credit beyond what is accepted
        self.cut = cut  # probability that a connection is cut before or after a batch is taken
        self.durable_lag = durable_lag
        self.told_durable = 0
        self.lose_at_open = False  # fall back to durable when a stream opens: the server died
        self.bad_state = None  # rows with it are rejected
        self.delay = 0.0  # seconds for each batch
        self.silent = False  # batches are taken and not answered
        self.drain = None  # seconds: Draining is sent with the next ack, then nothing is taken until the stream ends
        self.rows = []
        self.sizes = []  # of batches
        self.opened = self.policies = 0
        self.finished = False
        self.columns = []  # of each batch, as sent
        self.requests = []  # of unary calls
        self.policy = None  # a GetPolicyResponse: too large for a message
        self.steps = []  # OuterSteps taken
        self.stopped = None  # an OuterLoopStatus: the last that watchers are told
        self.watched = []  # numbers after which they began
        self.answers = {}  # of unary calls
        self.actions = {}  # (episode, sequence) -> action
        self.walking = {}  # number of a walk -> steps still to come
        self.walks = []  # (kind, episode, state) of those that began
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.port = 0
        self.server = None

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 1)])
        handlers = {}
        for name, method in v1.METHODS.items():
            act = getattr(self, name, None)
            if act is None:
                continue
            make = {
                (False, False): grpc.unary_unary_rpc_method_handler,
                (False, True): grpc.unary_stream_rpc_method_handler,
                (True, True): grpc.stream_stream_rpc_method_handler,
            }[method.client_streaming, method.server_streaming]
            handlers[name] = make(act, method.request.FromString, lambda message: message.SerializeToString())
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bilevel.v1.SessionService", handlers),)
        )
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()
        return self

    def stop(self):
        self.server.stop(0).wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def durable(self):
        self.told_durable = max(self.told_durable, len(self.rows) - self.durable_lag)
        return self.told_durable

    def progress(self):
        accepted = len(self.rows)
        return v1.WriterProgress(
            accepted_sequence=accepted, durable_sequence=self.durable, credit_until=accepted + self.window
        )

    def reject(self, first, code, message, field=""):
        status = v1.rpc_Status(code=code, message=message)
        if field:
            bad = v1.rpc_BadRequest()
            bad.field_violations.add(field=field, description=message)
            status.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=bad.SerializeToString())
        return v1.Rejected(first_sequence=first, status=status)

    def roll(self):
        with self.lock:
            return self.random.random() < self.cut

    def open(self, context, opening):
        if opening.session != "sessions/fake":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such session")
        with self.lock:
            self.opened += 1
            if self.lose_at_open:
                del self.rows[self.durable :]
            return self.opened

    def Train(self, requests, context):
        mine = self.open(context, next(requests).open)
        yield v1.TrainResponse(opened=self.progress())
        draining = False
        for request in requests:
            if self.opened != mine:
                context.abort(grpc.StatusCode.ABORTED, "a newer stream took this one's place")
            if draining:
                continue
            if self.roll():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut before")
            time.sleep(self.delay)
            if request.HasField("finish"):
                assert request.finish.last_sequence == len(self.rows)
                self.finished = True
            else:
                rejected = self.take(request.batch)
                if rejected is not None:
                    yield v1.TrainResponse(rejected=rejected)
                    continue
            if self.roll():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut after")
            if self.policies:
                yield v1.TrainResponse(policy=v1.PolicyUpdate(version=self.policies, merged=len(self.rows)))
            if not self.silent:
                yield v1.TrainResponse(ack=self.progress())
            if self.drain is not None:
                message = v1.TrainResponse(draining=v1.Draining())
                message.draining.retry_delay.FromNanoseconds(int(self.drain * 1e9))
                self.drain, draining = None, True
                yield message

    def take(self, batch):
        first, count = batch.first_sequence, batch.count
        assert 1 <= count <= 8192
        columns = {field.name: value for field, value in batch.ListFields() if field.message_type is not None}
        with self.lock:
            accepted = len(self.rows)
            if first > accepted + 1:
                return self.reject(first, 9, "a gap")
            assert first + count - 1 <= accepted + self.window, "beyond credit"
            state = from_array(columns["state"])
            if self.bad_state is not None and (state == self.bad_state).any():
                at = int(np.argmax(state == self.bad_state))
                return self.reject(first, 3, f"is {self.bad_state}", f"batch.state[{at}]")
            arrays = {name: from_array(array) for name, array in columns.items()}
            assert all(len(values) == count for values in arrays.values())
            self.columns.append({name: values.dtype for name, values in arrays.items()})
            self.sizes.append(count)
            names = sorted(arrays)
            rows = zip(*(arrays[name].tolist() for name in names))
            self.rows += [dict(zip(names, row)) for row in rows][accepted + 1 - first :]

    def Act(self, requests, context):
        opening = next(requests).open
        self.exploration, walks = opening.exploration, opening.walks
        mine = self.open(context, opening)
        yield v1.ActResponse(opened=self.progress())
        for request in requests:
            if self.opened != mine:
                context.abort(grpc.StatusCode.ABORTED, "a newer stream took this one's place")
            if self.roll():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut before")
            if request.HasField("finish"):
                assert request.finish.last_sequence == len(self.rows)
                self.finished = True
                continue
            seen = request.observation
            if self.bad_state is not None and seen.state == self.bad_state:
                field = "observation.state"
                yield v1.ActResponse(rejected=self.reject(seen.sequence, 3, f"is {seen.state}", field))
                continue
            key = (seen.episode_id, seen.sequence)
            if key not in self.actions:
                assert seen.sequence in (0, len(self.rows) + 1)
                self.actions[key] = self.random.randrange(1000)
                if seen.sequence > 0:
                    self.rows.append({"episode_id": seen.episode_id, "state": seen.state, "step_kind": seen.step_kind})
            if self.roll():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut after")
            action = v1.Action(episode_id=seen.episode_id, accepted_sequence=len(self.rows), policy_version=3)
            if seen.sequence == 0 and seen.walk_kind:
                self.walking[seen.episode_id] = 2  # steps to the coin that ends it
                self.walks.append((seen.walk_kind, seen.walk_of, seen.state))
            if seen.sequence > 0 and seen.episode_id in self.walking:
                self.walking[seen.episode_id] -= 1
            if seen.step_kind or self.walking.get(seen.episode_id) == 0:
                action.ended = True
                if walks and self.walking.pop(seen.episode_id, None) is None:
                    for kind in (1, 2):
                        action.walks.add(kind=kind, of_episode=seen.episode_id, state=1)
            else:
                action.action = self.actions[key]
                action.log_probability = -0.5
            if not self.silent:
                yield v1.ActResponse(action=action)

    def WatchSteps(self, request, context):
        self.watched.append(request.after_number)
        told = request.after_number
        while context.is_active():
            if self.roll():
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut between two steps")
            step = next((step for step in self.steps if step.number > told), None)
            if step is not None:
                yield v1.WatchStepsResponse(step=step)
                told = step.number
            elif self.stopped is not None:
                yield v1.WatchStepsResponse(stopped=self.stopped)
                return
            else:
                time.sleep(0.005)

    def StepSession(self, request, context):
        return self.unary("StepSession", request, context)

    def unary(self, name, request, context):
        self.requests.append(request)
        if name not in self.answers:
            context.abort(*UNIMPLEMENTED)
        return self.answers[name]

    def SetParameters(self, request, context):
        return self.unary("SetParameters", request, context)

    def AddPreferences(self, request, context):
        return self.unary("AddPreferences", request, context)

    def EstimateHypergradient(self, request, context):
        return self.unary("EstimateHypergradient", request, context)

    def CreateSession(self, request, context):
        return self.unary("CreateSession", request, context)

    def GetSession(self, request, context):
        return self.unary("GetSession", request, context)

    def GetPolicy(self, request, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large for a message")

    def DownloadPolicy(self, request, context):
        data = self.policy.SerializeToString()
        for begin in range(0, len(data), 1000):
            yield v1.PolicyChunk(total_bytes=len(data), offset=begin, data=data[begin : begin + 1000])


class CuttingProxy:
    """Passes TCP on to `target`, and cuts each connection after a random number of bytes from the client."""

    def __init__(self, target, least=5_000, most=150_000, seed=0):
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._random = random.Random(seed)
        self._range = (least, most)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self.cutting = True
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(self._target)
                for end in (inner, outer):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [inner, outer]
                left = self._random.randint(*self._range)
                threading.Thread(target=self._pass, args=(inner, outer, left), daemon=True).start()
                threading.Thread(target=self._pass, args=(outer, inner, None), daemon=True).start()

    def _pass(self, source, target, left):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(4096)
                if not data:
                    break
                if left is not None and self.cutting:
                    left -= len(data)
                    if left < 0:
                        self.cuts += 1
                        break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for end in self._open:
            end.close()

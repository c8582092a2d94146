"""Writers: each transition once and in order, whatever happens to connections and servers."""

import threading
import time

import grpc
import numpy as np
import pytest
from fake_session import CuttingProxy
from worlds import walk, world

import bilevel


pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def numbers(count, begin=0):
    """Columns whose rows tell their place."""
    at = np.arange(begin, begin + count)
    return {"episode": at // 10, "state": at % 1000, "action": at % 7, "next_state": at % 999, "kind": at % 3}


def received(fake):
    names = ("episode_id", "state", "action", "next_state", "step_kind")
    return [tuple(row.get(name, 0) for name in names) for row in fake.rows]


def expected(columns):
    return list(zip(*(columns[name].tolist() for name in ("episode", "state", "action", "next_state", "kind"))))


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_rows_and_columns_arrive_in_order(fake, session):
    columns = numbers(3000)
    with session.writer() as writer:
        for row in expected({name: values[:700] for name, values in columns.items()}):
            writer.append(*row)
        writer.extend(**{name: values[700:2000] for name, values in columns.items()})
        for row in expected({name: values[2000:] for name, values in columns.items()}):
            writer.append(*row)
        writer.flush()
        assert writer.accepted == writer.durable == writer.appended == 3000
    assert received(fake) == expected(columns)


@pytest.mark.parametrize("durable_lag", [0, 300])
def test_exactly_once_over_broken_streams_and_servers_that_fall_back(fake, session, durable_lag):
    fake.window, fake.cut = 100, 0.2
    fake.durable_lag, fake.lose_at_open = durable_lag, durable_lag > 0
    columns = numbers(2500)
    with session.writer(batch_size=64, buffer_size=1000) as writer:
        for begin in range(0, 2500, 50):
            writer.extend(**{name: values[begin : begin + 50] for name, values in columns.items()})
        wait_for(lambda: writer.accepted == 2500)
        # The last stay in the buffer until the lag ends.
        fake.durable_lag = fake.cut = 0
        writer.append(250, 1, 2, 3)
    assert fake.opened > 5
    assert received(fake) == expected(columns) + [(250, 1, 2, 3, 0)]


def test_a_server_that_stops_and_comes_back_is_found_again(fake, session):
    with session.writer() as writer:
        writer.extend(**numbers(100))
        writer.flush()
        fake.stop()
        writer.extend(**numbers(100, 100))
        with pytest.raises(bilevel.DeadlineExceeded, match="100 of 200 transitions are accepted.*UNAVAILABLE"):
            writer.flush(timeout=0.3)
        fake.start()
        writer.flush(timeout=20)
    assert received(fake) == expected(numbers(200))


def test_batches_go_by_number_or_by_time_and_are_bounded(fake, session):
    with session.writer(batch_size=100, max_delay=0.05) as writer:
        begin = time.monotonic()
        writer.append(0, 1, 2, 3)
        wait_for(lambda: writer.accepted == 1)
        assert time.monotonic() - begin > 0.05
        fake.window = 100_000
        writer.append(0, 1, 2, 3)  # tells of the window
        writer.flush()
        writer.extend(**numbers(20_000))
        writer.flush()
        assert max(fake.sizes) <= 8192
        sizes = len(fake.sizes)
        writer.extend(**numbers(6000), features=np.ones((6000, 40)))
        writer.flush()
        assert max(fake.sizes[sizes:]) * 8 * 40 <= 1 << 20


def test_append_waits_while_the_buffer_is_full_and_credit_is_kept_to(fake, session):
    fake.window = 50
    with session.writer(batch_size=10, buffer_size=100) as writer:
        fake.silent = True
        for i in range(100):
            writer.append(0, i, 0, 0)
        begin = time.monotonic()
        with pytest.raises(bilevel.DeadlineExceeded, match="the buffer of 100 transitions is full"):
            writer.append(0, 100, 0, 0, timeout=0.2)
        assert 0.2 <= time.monotonic() - begin < 2
        assert writer.appended == 100
        with pytest.raises(TimeoutError):
            writer.extend(**numbers(10), timeout=0.1)
        assert len(fake.rows) == 50  # the fake checks credit, too
        waiter = threading.Timer(0.2, lambda: (setattr(fake, "silent", False), fake.stop(), fake.start()))
        waiter.start()
        writer.extend(**numbers(500), timeout=30)
        waiter.join()
    assert len(fake.rows) == 600


def test_what_goes_on_slowly_is_waited_for(fake, session):
    fake.window, fake.delay = 100, 0.02
    with session.writer(timeout=0.3) as writer:
        begin = time.monotonic()
        writer.extend(**numbers(4000))
    assert len(fake.rows) == 4000 and time.monotonic() - begin > 0.6


def test_a_rejected_transition_is_named_and_can_be_mended(fake, session):
    fake.bad_state = 77_777
    with session.writer() as writer:
        writer.extend(**numbers(500))
        bad = numbers(400, 500)
        bad["state"][123] = 77_777
        writer.extend(**bad)
        with pytest.raises(bilevel.Rejected) as error:
            writer.flush()
        assert error.value.sequence == 624
        assert error.value.transition["state"] == 77_777
        assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.field.startswith("batch.state[")
        assert "transition 624" in str(error.value)
        # All before it is accepted, however the stream was cut into batches.
        assert writer.accepted == 623
        with pytest.raises(bilevel.Rejected):
            writer.append(0, 0, 0, 0)
        (columns,) = writer.take_back()
        assert columns["state"].tolist() == bad["state"][123:].tolist()
        columns["state"][0] = 3
        writer.extend(**columns)
        writer.flush()
        with pytest.raises(ValueError, match="nothing was rejected"):
            writer.take_back()
        assert writer.accepted == 900
    bad["state"][123] = 3
    assert received(fake) == expected(numbers(500)) + expected(bad)


def test_a_rejection_surfaces_where_the_block_ends_and_loses_nothing(fake, session):
    fake.bad_state = 5
    with pytest.raises(bilevel.Rejected):
        with session.writer() as writer:
            writer.append(0, 4, 0, 0)
            writer.append(0, 5, 0, 0, leader_reward=2.5)
            writer.append(0, 6, 0, 0)
    first, second = writer.take_back()
    assert first["leader_reward"].tolist() == [2.5] and first["state"].tolist() == [5]
    assert second["state"].tolist() == [6] and "leader_reward" not in second
    assert [row["state"] for row in fake.rows] == [4]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "<i4", ">i4", "u4", "i8", ">u8", "?"])
def test_columns_of_any_integer_type_are_taken(fake, session, dtype):
    values = np.array([1, 0, 1], dtype=dtype)
    with session.writer() as writer:
        writer.extend(episode=values, state=values, action=values, next_state=values[::-1], kind=values, context=values)
    assert [tuple(row.values()) for row in fake.rows] == [(1, 1, 1, 1, 1, 1), (0, 0, 0, 0, 0, 0), (1, 1, 1, 1, 1, 1)]
    assert fake.columns[0]["episode_id"] == "<u8" and fake.columns[0]["step_kind"] == "u1"
    assert {fake.columns[0][name].str for name in ("state", "action", "next_state", "context")} == {"<u4"}


def test_numbers_stand_for_columns_and_absent_columns_are_not_sent(fake, session):
    with session.writer() as writer:
        writer.extend(0, [1, 2], 0, [2, 3])
        writer.extend(
            2**64 - 1, [1, 2], np.uint8(1), [2, 3], ["running", "truncated"], 0, 0.5, -1, 7, [[1], [2]], [[3], [4]]
        )
        writer.append(np.int64(3), np.uint8(1), True, 2, "terminated", features=[1.5], next_features=(2,))
    assert set(fake.rows[0]) == {"state", "action", "next_state"}
    assert fake.rows[3] == {
        "episode_id": 2**64 - 1,
        "state": 2,
        "action": 1,
        "next_state": 3,
        "step_kind": 2,
        "leader_reward": 0.5,
        "behavior_log_probability": -1,
        "parameters_version": 7,
        "features": [2],
        "next_features": [4],
    }
    assert fake.rows[4]["features"] == [1.5] and fake.rows[4]["next_features"] == [2] and fake.rows[4]["step_kind"] == 1


def test_what_cannot_be_sent_is_refused_at_once(session):
    with session.writer() as writer:
        with pytest.raises(ValueError, match="state is -1; must be in"):
            writer.append(0, -1, 0, 0)
        with pytest.raises(TypeError, match="action is 0.5; must be a whole number"):
            writer.append(0, 0, 0.5, 0)
        with pytest.raises(ValueError, match="kind is 'over'; must be running, terminated or truncated"):
            writer.append(0, 0, 0, 0, "over")
        with pytest.raises(ValueError, match="next_state has -3; must be in"):
            writer.extend(0, [0, 0], 0, [1, -3])
        with pytest.raises(ValueError, match="state has 4294967296; must be in"):
            writer.extend(0, [0, 2**32], 0, 0)
        with pytest.raises(TypeError, match="state has dtype float64; must be whole numbers"):
            writer.extend(0, [0.0, 1.0], 0, 0)
        with pytest.raises(ValueError, match="action has 3 entries; other columns have 2"):
            writer.extend(0, [0, 1], [0, 1, 2], 0)
        with pytest.raises(ValueError, match="all columns are numbers"):
            writer.extend(0, 0, 0, 0)
        with pytest.raises(ValueError, match="kind is 'over'"):
            writer.extend(0, [0, 1], 0, 0, ["running", "over"])
        with pytest.raises(ValueError, match=r"features has shape \(2,\); must be \[k, m\]"):
            writer.extend(0, [0, 1], 0, 0, features=[0, 1])
        writer.extend(0, [], [], [])
        assert writer.appended == 0
    with pytest.raises(ValueError, match="batch_size is 0"):
        session.writer(batch_size=0)
    with pytest.raises(ValueError, match="buffer_size is 10; must be at least batch_size = 256"):
        session.writer(buffer_size=10)


def test_arrays_may_be_used_again_at_once(fake, session):
    states = np.array([1, 2, 3], dtype=np.uint32)
    with session.writer(max_delay=0.1) as writer:
        writer.extend(0, states, 0, states)
        states[:] = 9
    assert [row["state"] for row in fake.rows] == [1, 2, 3]


def test_a_newer_stream_of_the_same_writer_ends_the_older(fake, session):
    with session.writer() as newer_than_nothing:
        newer_than_nothing.append(0, 1, 1, 1)
    with pytest.raises(bilevel.Aborted):
        with session.writer() as old:
            with session.writer() as young:
                young.append(0, 2, 2, 2)
            old.append(0, 3, 3, 3)
    assert [row["state"] for row in fake.rows] == [1, 2]
    (left,) = old.take_back()
    assert left["state"].tolist() == [3]


def test_an_exception_ends_the_stream_and_a_new_process_resumes(fake, session):
    columns = numbers(1000)
    with pytest.raises(ZeroDivisionError):
        with session.writer() as writer:
            writer.extend(**{name: values[:300] for name, values in columns.items()})
            writer.flush()
            fake.stop()
            writer.extend(**{name: values[300:700] for name, values in columns.items()})
            raise ZeroDivisionError
    fake.start()
    with session.writer() as writer:
        assert writer.accepted == writer.appended == 300
        writer.extend(**{name: values[writer.accepted :] for name, values in columns.items()})
    assert received(fake) == expected(columns)
    with pytest.raises(bilevel.Cancelled, match="this Writer is closed"):
        writer.append(0, 0, 0, 0)


def test_a_server_that_lost_what_was_durable_is_an_error(fake, session):
    with session.writer() as writer:
        writer.extend(**numbers(100))
        writer.flush()
        fake.stop()
        del fake.rows[50:]
        fake.start()
        with pytest.raises(bilevel.BilevelError, match="fell back to transition 50.*up to 100") as error:
            writer.append(0, 1, 1, 1)
            writer.flush()
        assert error.value.code is grpc.StatusCode.DATA_LOSS
        writer.close()


def test_draining_is_honoured(fake, session):
    with session.writer() as writer:
        writer.extend(**numbers(10))
        writer.flush()
        begin = time.monotonic()
        fake.drain = 0.4
        writer.extend(**numbers(10, 10))
        writer.flush()
        writer.extend(**numbers(10, 20))
        writer.flush()
        assert time.monotonic() - begin > 0.3
        assert fake.opened == 2
    assert received(fake) == expected(numbers(30))


def test_policy_updates_are_told_and_callbacks_may_fail(fake, session, caplog):
    told = []

    def on_policy(update):
        told.append(update.version)
        raise RuntimeError("of the callback")

    with session.writer(on_policy=on_policy) as writer:
        assert writer.policy_update is None
        for version in (1, 1, 2):
            fake.policies = version
            writer.append(0, 1, 1, 1)
            writer.flush()
        assert writer.policy_update.version == 2 and writer.policy_update.parameters is None
    assert told == [1, 2]
    assert "on_policy failed" in caplog.text


def test_finish_ends_the_writer_over_broken_streams(fake, session):
    fake.cut = 0.5
    with session.writer(batch_size=5) as writer:
        for row in expected(numbers(50)):
            writer.append(*row)
        writer.finish()
    assert fake.finished and received(fake) == expected(numbers(50))


def test_streams_that_may_not_be_say_why(fake, session, client):
    with pytest.raises(bilevel.NotFound):
        client.session("none").writer()
    with bilevel.Client("127.0.0.1:1", max_attempts=1) as nobody:
        begin = time.monotonic()
        with pytest.raises(bilevel.Unavailable):
            nobody.session("s").writer(timeout=0.5)
        assert time.monotonic() - begin < 5
    other = bilevel.Client(fake.address)
    with pytest.raises(bilevel.Cancelled):
        with other.session("fake").writer() as writer:
            writer.append(0, 1, 1, 1)
            writer.flush()
            other.close()
            writer.append(0, 1, 1, 1)


def test_many_threads_share_a_writer(fake, session):
    with session.writer() as writer:

        def write(episode):
            for i in range(500):
                writer.append(episode, i, 0, 0)

        threads = [threading.Thread(target=write, args=(episode,)) for episode in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for episode in range(4):
        assert [row["state"] for row in fake.rows if row.get("episode_id", 0) == episode] == list(range(500))


def test_two_million_transitions_a_second_go_into_the_buffer(fake, session):
    """The best of three, printed; a loop over rows would take in a tenth."""
    fake.window = 0
    columns, extended, appended = numbers(500_000), 0.0, 0.0
    for _ in range(3):
        with session.writer(buffer_size=500_000) as writer:
            begin = time.perf_counter()
            writer.extend(**columns)
            extended = max(extended, 500_000 / (time.perf_counter() - begin))
            writer.close()
        with session.writer() as writer:
            begin = time.perf_counter()
            for _ in range(20_000):
                writer.append(1, 2, 0, 3)
            appended = max(appended, 20_000 / (time.perf_counter() - begin))
            writer.close()
    print(f"extend {extended / 1e6:.1f} M/s, append {appended / 1e3:.0f} k/s")
    assert extended > 2e6


def test_the_real_server_learns_the_same_through_a_proxy_that_cuts(server, client):
    columns = walk(20_000)

    def learn(address, **options):
        with bilevel.Client(address) as connected:
            made = client.create_session(world(known=False), [0.5, -0.3], update_interval=1000, queue=3000)
            session = connected.session(made.name)
            with session.writer(**options) as writer:
                writer.extend(**columns)
            status = client.session(made.name).wait(merged=20_000, policy_version=20)
            assert status.accepted == status.merged == 20_000
            policy = client.session(made.name).policy()
            made.delete()
            return policy

    plain = learn(server.address)
    with CuttingProxy(server.address) as proxy:
        cut = learn(proxy.address, batch_size=100)
        print(proxy.cuts, "cuts")
        assert proxy.cuts > 3
    assert plain.version == cut.version == 20
    assert (plain.contexts[0].policy == cut.contexts[0].policy).all()
    assert (plain.contexts[0].value == cut.contexts[0].value).all()


def test_the_real_server_names_what_is_wrong(client):
    session = client.create_session(world(known=False))
    columns = walk(1000)
    wrong = {name: values.copy() for name, values in columns.items()}
    wrong["action"][777] = 3
    with session.writer() as writer:
        writer.extend(**wrong)
        with pytest.raises(bilevel.Rejected, match=r"action\[\d+\]: is 3; must be in \[0, 2\]") as error:
            writer.flush()
        assert error.value.sequence == 778 and error.value.transition["action"] == 3
        (back,) = writer.take_back()
        back["action"][0] = columns["action"][777]
        writer.extend(**back)
    assert session.wait(merged=1000).accepted == 1000
    session.delete()
    with pytest.raises(bilevel.NotFound):
        session.writer()


def test_deleting_a_session_ends_its_writers(client):
    session = client.create_session(world(known=False), writers=["a", "b"], merge_round=10)
    a, b = session.writer("a"), session.writer("b")
    a.extend(**walk(100))
    a.flush()
    # b's turn; when it is finished, nobody waits for it.
    assert session.wait(merged=10).merged == 10
    b.finish()
    assert session.wait(merged=100).waiting_for == ""
    session.delete()
    with pytest.raises((bilevel.Aborted, bilevel.NotFound)):
        a.append(1, 0, 0, 0)
        a.flush()
    a.close()
    with pytest.raises(bilevel.DeadlineExceeded, match="has learned from 0"):
        client.create_session(world(known=False)).wait(merged=1, timeout=0.1)

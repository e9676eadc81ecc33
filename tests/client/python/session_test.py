"""Both clients over a real server: sessions."""

import io
import threading
from typing import Any

import pytest
from cascade_client import Busy, Durability, FailedPrecondition, FinishReason, InvalidArgument, NotFound, SessionState
from conftest import LONG

SHORT = {**LONG, "max_tokens": 6}


@pytest.fixture
def session(client: Any) -> Any:
    session = client.create_session("test")
    yield session
    session.delete()


def test_turns(client: Any, session: Any) -> None:
    assert session.position == 0
    first = session.send("Hello", **SHORT)
    assert first.acknowledgement.turn == 1 and first.acknowledgement.durability == Durability.JOURNAL
    assert session.position == first.usage.position
    second = session.send(messages=[("user", "And then?")], **SHORT)
    third = session.send(prompt=" go on", **SHORT)
    fourth = session.send(token_ids=[5, 6], **SHORT)
    assert [reply.acknowledgement.turn for reply in (second, third, fourth)] == [2, 3, 4]
    info = session.info()
    assert (info.turns, info.position, info.label) == (4, session.position, "test")
    assert info.durability == Durability.JOURNAL and info.last_finish_reason == FinishReason.LENGTH
    assert info.created <= info.last_used and info.expires is None
    # Another handle asks where the session is.
    other = client.session(session.id)
    assert other.position is None
    other.send(prompt="", **SHORT)
    assert other.position == info.position + 6
    # This one knows an older position: it is told, and then goes on.
    with pytest.raises(FailedPrecondition):
        session.send("Still there?", **SHORT)
    assert session.send("Now?", **SHORT).acknowledgement.turn == 6


def test_feeding_only(session: Any) -> None:
    reply = session.send(prompt="Once upon", max_tokens=0)
    assert reply.text == "" and reply.finish_reason == FinishReason.LENGTH and session.position > 0


def test_streaming(session: Any) -> None:
    whole = session.fork().send("Tell me", **LONG)
    with session.send("Tell me", stream=True, **LONG) as stream:
        text = "".join(delta.text for delta in stream)
    assert text == whole.text and stream.result.token_ids == whole.token_ids
    assert session.position == whole.usage.position


def test_a_stream_that_is_left_keeps_what_was_said(session: Any) -> None:
    whole = session.fork().send("Tell me", **LONG)
    with session.send("Tell me", stream=True, **LONG) as stream:
        for delta in stream:
            if delta.seq >= 5:
                break
    left = stream.result
    assert session.position is None
    assert whole.token_ids[: len(left.token_ids)] == left.token_ids
    # The next turn waits for the end of this one, and is not refused.
    session.send("And?", **SHORT)
    info = session.info()
    assert info.turns == 2 and info.position < whole.usage.position


def test_a_stream_that_is_rolled_back_leaves_nothing(session: Any) -> None:
    with session.send("Tell me", stream=True, on_cancel="rollback", **LONG) as stream:
        next(iter(stream))
    assert session.fork().position == 0
    assert session.info().turns == 0


def test_a_stream_that_goes_on_without_its_caller(session: Any) -> None:
    whole = session.fork().send("Tell me", **LONG)
    with session.send("Tell me", stream=True, on_cancel="continue", **LONG) as stream:
        for delta in stream:
            if delta.seq >= 5:
                break
    left = stream.result
    rest = session.resume(len(left.token_ids)).read()
    assert left.token_ids + rest.token_ids == whole.token_ids
    assert left.text + rest.text == whole.text


def test_closing_from_another_thread(session: Any) -> None:
    stream = session.send("Tell me", stream=True, **{**LONG, "max_tokens": 100_000})
    started = threading.Event()

    def close() -> None:
        started.wait()
        stream.close()

    closer = threading.Thread(target=close)
    closer.start()
    for _ in stream:
        started.set()
    closer.join()
    assert stream.result.finish_reason is None


def test_busy(client: Any, session: Any) -> None:
    other = client.session(session.id)
    with session.send("Tell me", stream=True, **{**LONG, "max_tokens": 100_000}) as stream:
        next(iter(stream))
        assert client.session(session.id).info().state == SessionState.BUSY
        with pytest.raises(Busy):
            other.send("Me too", **SHORT)


def test_fork_and_rewind(session: Any) -> None:
    session.send("Hello", **SHORT)
    before = session.info()
    fork = session.fork("branch")
    one = session.send("And then?", **SHORT)
    other = fork.send("And then?", **SHORT)
    assert other.token_ids == one.token_ids and fork.info().label == "branch" and fork.id != session.id
    back = session.rewind()
    assert (back.turns, back.position, back.digest) == (1, before.position, before.digest)
    assert session.send("And then?", **SHORT).token_ids == one.token_ids
    assert session.rewind(to_turn=0, allow_replay=True).position == 0
    fork.delete()
    with pytest.raises(NotFound):
        fork.info()


def test_wrong_rewinds(session: Any) -> None:
    session.send("Hello", **SHORT)
    with pytest.raises(InvalidArgument):
        session.rewind(turns=1, to_turn=1)
    with pytest.raises(InvalidArgument):
        session.rewind(5)
    with pytest.raises(InvalidArgument, match="turns"):
        session.rewind("all")


def test_park(session: Any) -> None:
    session.send("Hello", **SHORT)
    assert session.park("disk").state == SessionState.PARKED_DISK
    session.send("Hello again", **SHORT)
    assert session.info().state == SessionState.RESIDENT
    with pytest.raises(InvalidArgument, match="'host', 'disk'"):
        session.park("moon")


def test_export_and_import(client: Any, session: Any, tmp_path: Any) -> None:
    session.send("Hello", **SHORT)
    size = session.export(tmp_path / "session")
    assert (tmp_path / "session").stat().st_size == size > 0
    assert [each.name for each in tmp_path.iterdir()] == ["session"]
    buffer = io.BytesIO()
    longer = session.export(buffer, with_history=True)
    assert longer == len(buffer.getvalue()) > size
    buffer.seek(0)
    for copy in (client.import_session(str(tmp_path / "session"), label="copy"), client.import_session(buffer)):
        assert copy.position == session.position and copy.info().digest == session.info().digest
        copy.delete()


def test_wrong_files(client: Any, session: Any, tmp_path: Any) -> None:
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    with pytest.raises(Exception) as raised:
        client.import_session(tmp_path / "noise")
    assert type(raised.value).__name__ in ("DataLoss", "InvalidArgument")
    with pytest.raises(FileNotFoundError):
        client.import_session(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        session.export(tmp_path / "nowhere" / "file")
    for wrong in (io.StringIO(), 5):
        with pytest.raises(InvalidArgument, match="file"):
            client.import_session(wrong)
        with pytest.raises(InvalidArgument, match="file"):
            session.export(wrong)

    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        client.import_session(Broken())


def test_inspect(session: Any) -> None:
    session.send("Hello", **SHORT)
    heads = list(session.inspect())
    assert [(each.layer, each.kv_head) for each in heads] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert heads[0].token_indices == list(range(session.position)) and heads[0].position == session.position
    assert heads[0].sub_caches[:5] == [-1, -1, -1, -1, heads[0].sub_caches[4]]
    assert [(each.layer, each.kv_head) for each in session.inspect(layers=[1], kv_heads=[0])] == [(1, 0)]
    with pytest.raises(InvalidArgument, match="layers"):
        list(session.inspect(layers=[9]))


def test_score(client: Any, session: Any) -> None:
    text = "Once upon a time"
    assert session.score(text).logprobs == client.score(text).logprobs
    assert session.position == len(client.tokenize(text))
    with pytest.raises(FailedPrecondition):
        session.score(text, expected_position=1)


def test_list(client: Any) -> None:
    made = [client.create_session(f"listed-{i}") for i in range(5)]
    labels = [info.label for info in client.list_sessions(page_size=2) if info.label.startswith("listed-")]
    assert labels == [f"listed-{i}" for i in range(5)]
    for each in made:
        each.delete()
    with pytest.raises(InvalidArgument):
        list(client.list_sessions(page_size=0))


def test_wrong_turns(client: Any, session: Any) -> None:
    for arguments in ({}, {"text": "a", "prompt": "b"}, {"prompt": "a", "token_ids": [1]}, {"text": 5}):
        with pytest.raises(InvalidArgument):
            session.send(**arguments)
    with pytest.raises(InvalidArgument, match="on_cancel must be one of 'keep', 'rollback', 'continue'"):
        session.send("x", on_cancel="stay")
    with pytest.raises(InvalidArgument, match="turn_id"):
        session.send("x", turn_id="n" * 65)
    with pytest.raises(InvalidArgument, match="from_seq"):
        session.resume(-1)
    with pytest.raises(InvalidArgument, match="label"):
        client.create_session("no blanks")
    with pytest.raises(InvalidArgument, match="durability must be one of"):
        client.create_session(durability="forever")
    assert session.send("x", **SHORT).acknowledgement.turn == 1

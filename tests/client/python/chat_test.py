"""Chat streams of both clients: over a server whose answers are written down, and over a real one."""

import queue
import threading
from typing import Any, Iterator, List

import grpc
import pytest
from cascade_client import Busy, CascadeError, Client, FinishReason, InvalidArgument, Unavailable, Unimplemented
from cascade_client.wire import cascade_pb2 as pb
from conftest import LONG
from fake_server import Failure, unavailable
from wire_script import SESSION, answer, at, last, piece


def opened(position: int = 10) -> pb.ChatResponse:
    return pb.ChatResponse(opened=pb.ChatOpened(position=position))


def delta(turn: int, response: pb.GenerateResponse) -> pb.ChatResponse:
    return pb.ChatResponse(turn=turn, delta=response)


class Script:
    """What a Chat call was sent, message by message."""

    def __init__(self) -> None:
        self.seen: "queue.Queue[pb.ChatRequest]" = queue.Queue()

    def read(self, requests: Iterator[pb.ChatRequest]) -> pb.ChatRequest:
        request = next(requests)
        self.seen.put(request)
        return request

    def kinds(self) -> List[str]:
        return [each.WhichOneof("kind") for each in list(self.seen.queue)]


def test_two_turns(fake: Any, session: Any) -> None:
    script = Script()

    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        assert script.read(requests).open == pb.ChatOpen(session_id=SESSION, expected_position=10)
        yield opened()
        for turn in (1, 2):
            request = script.read(requests)
            assert request.turn.session_id == "" and request.turn.expected_position == 7 + 3 * turn
            assert request.turn.turn_id and request.turn.on_cancel == pb.ON_CANCEL_CONTINUE
            yield delta(turn, piece("a", 97, seq=1))
            assert script.read(requests).ack == 1
            yield delta(turn, piece("bc", 98, 99, seq=3))
            assert script.read(requests).ack == 3
            yield delta(turn, last(3, 10 + 3 * turn))
        assert list(requests) == []

    fake.expect("Chat", chat)
    with session.chat() as stream:
        for _ in range(2):
            with stream.send("x") as reply:
                assert [each.text for each in reply] == ["a", "bc", ""]
            assert reply.result.text == "abc" and reply.result.finish_reason == FinishReason.LENGTH
    assert session.position == 16


def test_turns_that_wait(fake: Any, session: Any) -> None:
    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()
        assert next(requests).turn.expected_position == 10
        assert not next(requests).turn.HasField("expected_position")  # who knows yet
        for turn in (1, 2):
            yield delta(turn, piece(str(turn), 97, seq=1))
            yield delta(turn, last(1, 10 + turn))

    fake.expect("Chat", chat)
    with session.chat() as stream:
        first, second = stream.send("x"), stream.send("y")
        assert second.read().text == "2"  # what belongs to the first is put by
        assert first.read().text == "1"


@pytest.mark.parametrize("auto_ack", [True, False])
def test_interrupt(fake: Any, session: Any, auto_ack: bool) -> None:
    script = Script()

    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        script.read(requests)
        yield opened()
        script.read(requests)
        for seq in (1, 2, 3):
            yield delta(1, piece("abc"[seq - 1], 96 + seq, seq=seq))
        while script.read(requests).WhichOneof("kind") != "interrupt":
            pass
        yield delta(1, piece("d", 100, seq=4))  # was on its way
        yield delta(1, last(4, 10 + acked, pb.FINISH_REASON_CANCELLED))

    acked = 2 if auto_ack else 1
    fake.expect("Chat", chat)
    with session.chat(auto_ack=auto_ack) as stream:
        with stream.send("x") as reply:
            for each in reply:
                if not auto_ack and each.seq == 1:
                    reply.ack()
                if each.seq == 2:
                    with pytest.raises(InvalidArgument, match="seq must be in"):
                        reply.ack(5)
                    reply.interrupt()
                    reply.interrupt()
    assert each.seq == 2
    assert reply.result.text == "abcd"[:acked] and len(reply.result.token_ids) == acked
    assert reply.result.finish_reason == FinishReason.CANCELLED
    acks = [request.ack for request in list(script.seen.queue) if request.WhichOneof("kind") == "ack"]
    assert acks == ([1, 2] if auto_ack else [1])
    assert script.kinds().count("interrupt") == 1
    assert session.position == 10 + acked


def test_an_interrupt_that_comes_too_late(fake: Any, session: Any) -> None:
    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()
        next(requests)
        yield delta(1, piece("a", 97, seq=1))
        yield delta(1, piece("b", 98, seq=2))
        yield delta(1, last(2, 12))
        for _ in requests:
            pass

    fake.expect("Chat", chat)
    with session.chat() as stream:
        with stream.send("x") as reply:
            next(iter(reply))
    # Leaving interrupted it; the session has all of it all the same.
    assert reply.result.text == "ab" and reply.result.finish_reason == FinishReason.LENGTH


def test_a_turn_that_fails_leaves_the_stream(fake: Any, session: Any) -> None:
    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()
        next(requests)
        yield pb.ChatResponse(turn=1, error=pb.ChatTurnError(code=grpc.StatusCode.ABORTED.value[0], message="busy"))
        next(requests)
        yield delta(2, last(0, 10))

    fake.expect("Chat", chat)
    with session.chat() as stream:
        with pytest.raises(Busy, match="busy"):
            stream.send("x").read()
        assert stream.send("y").read().text == ""


def test_a_broken_stream_is_replaced(fake: Any, session: Any) -> None:
    def breaks(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()
        next(requests)
        yield delta(1, piece("a", 97, seq=1))
        raise unavailable()

    def holds(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        assert next(requests).open.expected_position == 12
        yield opened(12)
        next(requests)
        yield delta(1, piece("c", 99, seq=1))
        yield delta(1, last(1, 13))

    fake.expect("Chat", breaks, holds)
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect("ResumeTurn", answer(piece("b", 98, seq=2), last(2, 12)))
    with session.chat() as stream:
        assert stream.send("x").read().text == "ab"
        assert stream.send("y").read().text == "c"


def test_a_stream_that_ends_too_early(fake: Any, session: Any) -> None:
    def ends(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()

    fake.expect("Chat", ends)
    fake.expect("Generate", answer(last(0, 10)))
    with session.chat() as stream:
        assert stream.send("x").read().text == ""


def test_a_server_without_chat(fake: Any) -> None:
    def refuses(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        yield from ()
        raise Failure(grpc.StatusCode.UNIMPLEMENTED, "no chat here")

    fake.expect("CreateSession", at(10))
    fake.expect("Chat", refuses)
    # The sync one alone: asyncio's gRPC loses the status where it comes while a message is being sent.
    with Client(fake.address) as client, client.create_session().chat() as stream:
        with pytest.raises(Unimplemented):
            stream.send("x").read()


def test_an_interrupt_after_a_break_ends_the_iteration(fake: Any, session: Any) -> None:
    def breaks(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        next(requests)
        yield opened()
        next(requests)
        yield delta(1, piece("a", 97, seq=1))
        raise unavailable()

    fake.expect("Chat", breaks)
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect("ResumeTurn", answer(*(piece("b", 98, seq=seq) for seq in range(2, 10_000))))
    with session.chat() as stream:
        with stream.send("x") as reply:
            for each in reply:
                if each.seq >= 2:
                    reply.interrupt()
    assert each.seq < 9999 and reply.result.finish_reason is None
    assert session.position is None


def test_keep_alive_and_close(fake: Any, session: Any) -> None:
    script = Script()
    done = threading.Event()

    def chat(requests: Iterator[pb.ChatRequest]) -> Iterator[pb.ChatResponse]:
        for request in requests:
            script.seen.put(request)
            if request.HasField("open"):
                yield opened()
            if request.HasField("keep_alive"):
                yield pb.ChatResponse(keep_alive=pb.ChatKeepAlive())
        done.set()

    fake.expect("Chat", chat)
    with session.chat() as stream:
        stream.keep_alive()
    assert done.wait(30)
    assert script.kinds() == ["open", "keep_alive"]
    with pytest.raises(RuntimeError, match="closed"):
        stream.send("x")


# Over a real server.


@pytest.mark.chat
def test_chat_says_what_send_says(client: Any) -> None:
    session = client.create_session()
    fork = session.fork()
    with session.chat() as chat:
        for text in ("Hello", "Tell me", "More"):
            assert chat.send(text, **LONG).read().token_ids == fork.send(text, **LONG).token_ids
    assert session.info().digest == fork.info().digest
    assert session.position == fork.position


@pytest.mark.chat
def test_the_session_has_what_was_heard(client: Any) -> None:
    session = client.create_session()
    told = session.fork()
    with session.chat() as chat:
        with chat.send("Tell me", **{**LONG, "max_tokens": 100_000}) as reply:
            for each in reply:
                if each.seq >= 20:
                    reply.interrupt()
        heard = reply.result
        assert heard.finish_reason == FinishReason.CANCELLED and len(heard.token_ids) >= 20
        after = chat.send("Something else", **LONG).read()
    # A session that was told the same, and no more.
    template = client.apply_chat_template([("user", "Tell me")]).token_ids
    told.send(token_ids=template + heard.token_ids, max_tokens=0)
    assert told.info().position == heard.usage.position
    assert session.info().turns == 2 and after.acknowledgement.turn == 2


@pytest.mark.chat
def test_errors_of_turns(client: Any) -> None:
    session = client.create_session()
    with session.chat() as chat:
        with pytest.raises(InvalidArgument):
            chat.send("x", temperature=9).read()
        assert chat.send("x", **LONG).read().token_ids
    with pytest.raises(CascadeError):
        with client.session("0" * 32).chat() as chat:
            chat.send("x").read()


@pytest.mark.chat
def test_a_cut_chat_goes_on(proxy: Any, make_client: Any) -> None:
    session = make_client(proxy.address).create_session()
    whole = session.fork().send("Tell me", **{**LONG, "max_tokens": 2000})
    proxy.cuts = [2000, 2000]
    with session.chat() as chat:
        reply = chat.send("Tell me", **{**LONG, "max_tokens": 2000}).read()
        assert proxy.cuts == []
        assert reply.token_ids == whole.token_ids and reply.text == whole.text
        assert chat.send("More", **LONG).read().acknowledgement.turn == 2


@pytest.mark.chat
def test_a_cut_chat_with_turns_that_wait(proxy: Any, make_client: Any) -> None:
    session = make_client(proxy.address).create_session()
    whole = session.fork().send("Tell me", **{**LONG, "max_tokens": 2000})
    with session.chat() as chat:
        first = chat.send("Tell me", **{**LONG, "max_tokens": 2000})
        second = chat.send("More", **LONG)
        proxy.cuts = [2000]
        assert first.read().token_ids == whole.token_ids
        # Nobody knows whether it ran: that is for the caller to find out.
        with pytest.raises(Unavailable):
            second.read()


@pytest.mark.chat
def test_a_chat_without_a_server(proxy: Any, make_client: Any) -> None:
    session = make_client(proxy.address).create_session()
    with session.chat() as chat:
        chat.send("x", **LONG).read()
        proxy.close()
        with pytest.raises(Unavailable):
            chat.send("y", **LONG).read()

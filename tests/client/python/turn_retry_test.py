"""Turns of sessions whose connection breaks, over a server whose answers are written down."""

from typing import Any, Iterator

import grpc
import pytest
from cascade_client import (
    Busy,
    Cancelled,
    DataLoss,
    FailedPrecondition,
    FinishReason,
    InvalidArgument,
    NotFound,
    OnCancel,
    Unavailable,
)
from cascade_client.wire import cascade_pb2 as pb
from fake_server import Failure, unavailable
from wire_script import SESSION, answer, at, give, last, piece, whole


def test_a_turn_has_a_name_a_position_and_a_seed(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(*whole()), answer(*whole(position=20)))
    session.send("x")
    session.send("y", seed=5, turn_id="mine")
    first, second = fake.asked("Generate")
    assert first.session_id == SESSION and len(first.turn_id) == 32 and first.expected_position == 10
    assert first.sampling.HasField("seed") and first.on_cancel == pb.ON_CANCEL_CONTINUE
    assert second.turn_id == "mine" and second.sampling.seed == 5 and second.expected_position == 13
    assert session.position == 20


def test_a_turn_that_never_arrived_is_sent_again_as_it_was(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(unavailable()), answer(*whole()))
    assert session.send("x").text == "abc"
    first, second = fake.asked("Generate")
    assert first == second


def test_a_turn_that_runs_is_resumed(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), piece("b", 98, seq=2), unavailable()))
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect("ResumeTurn", answer(piece("c", 99, seq=3), last(3, 13)))
    reply = session.send("x")
    assert (reply.text, reply.token_ids, reply.finish_reason) == ("abc", [97, 98, 99], FinishReason.LENGTH)
    (resume,) = fake.asked("ResumeTurn")
    assert (resume.session_id, resume.from_seq) == (SESSION, 2)
    assert session.position == 13


def test_a_turn_that_has_ended_is_resumed(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()))
    fake.expect("GetSession", give(unavailable()), at(13))
    fake.expect("ResumeTurn", answer(unavailable()), answer(piece("bc", 98, 99, seq=3), last(3, 13)))
    fake.expect("GetSession", at(13))
    assert session.send("x").text == "abc"


def test_what_comes_twice_is_left_out(fake: Any, session: Any) -> None:
    # Text without a token, and a message in pieces: ResumeTurn sends both again.
    fake.expect("Generate", answer(piece("a", 97, seq=1), piece("+", seq=1), piece("b", 98, seq=1), unavailable()))
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect("ResumeTurn", answer(piece("+bc", 98, 99, seq=3), last(3, 13)))
    with session.send("x", stream=True, on_cancel="continue") as stream:
        texts = [delta.text for delta in stream]
    assert texts == ["a", "+", "b", "c", ""]
    assert stream.result.token_ids == [97, 98, 99]
    assert fake.asked("ResumeTurn")[0].from_seq == 1


def test_a_turn_that_was_lost_is_run_again(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), piece("b", 98, seq=2), unavailable()), answer(*whole()))
    fake.expect("GetSession", at(10))
    reply = session.send("x")
    assert (reply.text, reply.token_ids) == ("abc", [97, 98, 99])
    first, second = fake.asked("Generate")
    assert first.turn_id != second.turn_id
    second.turn_id = first.turn_id
    assert first == second


def test_a_turn_that_says_something_else_when_run_again_is_an_error(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()), answer(*whole("xyz")))
    fake.expect("GetSession", at(10))
    with pytest.raises(DataLoss) as raised:
        session.send("x")
    assert raised.value.reply.text == "a"


def test_somebody_elses_turn_is_not_taken_for_ours(fake: Any, session: Any) -> None:
    fake.expect(
        "Generate",
        answer(unavailable()),
        answer(Failure(grpc.StatusCode.FAILED_PRECONDITION, "expected_position is 10, but .. 30")),
    )
    with pytest.raises(FailedPrecondition):
        session.send("x")
    # The user has been told; the next turn begins where the session is.
    fake.expect("GetSession", at(30))
    fake.expect("Generate", answer(*whole(position=33)))
    session.send("y")
    assert fake.asked("Generate")[-1].expected_position == 30


def test_a_turn_cut_by_the_broken_connection_says_so(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()))
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect(
        "ResumeTurn",
        answer(
            piece("b", 98, seq=2),
            last(2, 12, pb.FINISH_REASON_CANCELLED),
            Failure(grpc.StatusCode.CANCELLED, "the client went away"),
        ),
    )
    with pytest.raises(Unavailable, match="on_cancel") as raised:
        session.send("x", on_cancel="keep")
    assert raised.value.reply.text == "ab"
    assert raised.value.reply.finish_reason == FinishReason.CANCELLED
    assert session.position == 12


def test_a_turn_rolled_back_by_the_broken_connection_is_run_again(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()), answer(*whole()))
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect(
        "ResumeTurn",
        answer(
            last(1, 10, pb.FINISH_REASON_CANCELLED, counts=False),
            Failure(grpc.StatusCode.CANCELLED, "the client went away"),
        ),
    )
    assert session.send("x", on_cancel=OnCancel.ROLLBACK).text == "abc"


def test_a_server_that_cuts_again_and_again_is_believed(fake: Any, session: Any) -> None:
    cut = answer(last(1, 10, pb.FINISH_REASON_CANCELLED, counts=False), Failure(grpc.StatusCode.CANCELLED, "cut"))
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()), cut)
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    fake.expect("ResumeTurn", cut)
    with pytest.raises(Cancelled):
        session.send("x", on_cancel="rollback")


def test_a_turn_without_a_position_is_not_sent_again(fake: Any, fake_client: Any) -> None:
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))  # somebody else's turn: it may end before ours arrives
    fake.expect("Generate", answer(unavailable()))
    with pytest.raises(Unavailable):
        fake_client.session(SESSION).send("x")


def test_the_callers_position_goes_first(fake: Any, session: Any) -> None:
    fake.expect("Generate", answer(*whole()))
    session.send("x", expected_position=9)
    assert fake.asked("Generate")[0].expected_position == 9


def test_refusals_leave_the_handle_as_it_is(fake: Any, session: Any) -> None:
    for code, kind in (
        (grpc.StatusCode.ABORTED, Busy),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, NotFound),
    ):
        fake.expect("Generate", answer(Failure(code, "no")))
        with pytest.raises(kind):
            session.send("x")
        assert session.position == 10


def test_a_turn_after_one_that_was_left_waits_for_its_end(fake: Any, session: Any) -> None:
    def until_left(request: Any) -> Iterator[Any]:
        for seq in range(1, 100_000):
            yield piece("a", 97, seq=seq)

    fake.expect("Generate", until_left)
    with session.send("x", stream=True) as stream:
        next(iter(stream))
    assert fake.asked("Generate")[0].on_cancel == pb.ON_CANCEL_KEEP
    assert stream.result.finish_reason is None and stream.result.text == "a"
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY), at(10, pb.SESSION_STATE_BUSY), at(17))
    fake.expect("Generate", answer(*whole(position=20)))
    session.send("y")
    assert fake.asked("Generate")[1].expected_position == 17


def test_resume_asks_for_the_rest(fake: Any, fake_client: Any) -> None:
    fake.expect("ResumeTurn", answer(piece("c", 99, seq=3), unavailable()), answer(piece("d", 100, seq=4), last(4, 14)))
    fake.expect("GetSession", at(10, pb.SESSION_STATE_BUSY))
    reply = fake_client.session(SESSION).resume(2).read()
    assert (reply.text, reply.token_ids) == ("cd", [99, 100])
    assert [request.from_seq for request in fake.asked("ResumeTurn")] == [2, 3]

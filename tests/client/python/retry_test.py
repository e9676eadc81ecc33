"""What is called again, and what is not, over a server whose answers are written down."""

import time
from typing import Any, Iterator

import grpc
import pytest
from cascade_client import (
    CascadeError,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    RetryPolicy,
    Unavailable,
)
from cascade_client.wire import cascade_pb2 as pb
from cascade_client.wire import status_details_pb2
from fake_server import Failure, full, packed, unavailable
from wire_script import SESSION, answer, at, give, piece, whole

# One-shots.


def test_one_shot_is_asked_again_while_nothing_has_come(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(unavailable()), answer(unavailable()), answer(*whole()))
    assert fake_client.generate("x").text == "abc"
    assert len(fake.asked("Generate")) == 3


def test_one_shot_is_not_asked_again_once_something_has_come(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1), unavailable()))
    with pytest.raises(Unavailable) as raised:
        fake_client.generate("x")
    assert raised.value.reply.text == "a"
    assert raised.value.reply.finish_reason is None
    assert raised.value.grpc_error is not None and raised.value.__cause__ is raised.value.grpc_error


def test_other_errors_are_not_asked_again(fake: Any, fake_client: Any) -> None:
    for code in (
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNKNOWN,
    ):
        fake.expect("Generate", answer(Failure(code, "no")))
        with pytest.raises(CascadeError) as raised:
            fake_client.generate("x")
        assert raised.value.code == code
        assert str(raised.value) == "no"


def test_a_stream_without_a_last_message_is_an_error(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(piece("a", 97, seq=1)))
    with pytest.raises(CascadeError, match="without a last message"):
        fake_client.generate("x")


def test_attempts_are_counted(fake: Any, make_client: Any) -> None:
    fake.expect("Generate", *[answer(unavailable())] * 3)
    with pytest.raises(Unavailable):
        make_client(fake.address, retry=RetryPolicy(attempts=3, first_delay=0)).generate("x")
    fake.expect("Generate", answer(unavailable()))
    with pytest.raises(Unavailable):
        make_client(fake.address, retry=RetryPolicy(attempts=1)).generate("x")


# A full server.


def test_retry_info_is_honoured(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(full(0, 300_000_000)), answer(*whole()))
    before = time.monotonic()
    assert fake_client.generate("x").text == "abc"
    assert time.monotonic() - before >= 0.3


def test_every_call_may_be_refused(fake: Any, fake_client: Any) -> None:
    fake.expect("CreateSession", give(full(0, 1)), at(10))
    session = fake_client.create_session()
    fake.expect("ForkSession", give(full(0, 1)), at(10))
    session.fork()
    fake.expect("Generate", answer(full(0, 1)), answer(*whole()))
    assert session.send("x").text == "abc"
    first, second = fake.asked("Generate")
    assert first == second


def test_a_wait_beyond_the_budget_is_not_waited(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(full(3600)))
    with pytest.raises(ResourceExhausted) as raised:
        fake_client.generate("x")
    assert raised.value.retry_after == 3600


def test_full_without_retry_info_is_an_error(fake: Any, fake_client: Any) -> None:
    fake.expect("Generate", answer(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large")))
    with pytest.raises(ResourceExhausted) as raised:
        fake_client.generate("x")
    assert raised.value.retry_after is None


# Other calls.


def test_reads_are_made_again(fake: Any, fake_client: Any) -> None:
    fake.expect("GetSession", give(unavailable()), at(10))
    assert fake_client.session(SESSION).info().position == 10
    fake.expect("GetServerInfo", give(unavailable()), give(pb.ServerInfo(model="m")))
    assert fake_client.server_info().model == "m"
    fake.expect("Tokenize", give(unavailable()), give(pb.TokenizeResponse(token_ids=[1])))
    assert fake_client.tokenize("x") == [1]
    fake.expect("InspectSession", answer(unavailable()), answer(pb.InspectSessionResponse(layer=1)))
    assert [each.layer for each in fake_client.session(SESSION).inspect()] == [1]
    fake.expect("InspectSession", answer(pb.InspectSessionResponse(layer=1), unavailable()))
    with pytest.raises(Unavailable):
        list(fake_client.session(SESSION).inspect())


def test_changes_are_not(fake: Any, fake_client: Any, session: Any, tmp_path: Any) -> None:
    for method, call in (
        ("CreateSession", fake_client.create_session),
        ("ForkSession", session.fork),
        ("RewindSession", session.rewind),
        ("ParkSession", session.park),
    ):
        fake.expect(method, give(unavailable()))
        with pytest.raises(Unavailable):
            call()
    (tmp_path / "file").write_bytes(b"x")
    fake.expect("ImportSession", give(unavailable()))
    with pytest.raises(Unavailable):
        fake_client.import_session(tmp_path / "file")


def test_delete_is_made_again(fake: Any, session: Any) -> None:
    fake.expect("DeleteSession", give(unavailable()), give(Failure(grpc.StatusCode.NOT_FOUND)))
    session.delete()
    fake.expect("DeleteSession", give(Failure(grpc.StatusCode.NOT_FOUND)))
    with pytest.raises(NotFound):
        session.delete()


def test_an_import_that_was_refused_begins_anew(fake: Any, fake_client: Any, tmp_path: Any) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    fake.expect("ImportSession", give(full(0, 1)), at(10))
    fake_client.import_session(tmp_path / "file", label="back", replay=True)
    requests = fake.asked("ImportSession")[-1]
    assert requests[0].options.label == "back" and requests[0].options.replay
    assert b"".join(request.data for request in requests[1:]) == data


def test_an_export_that_ends_early_leaves_no_file(fake: Any, session: Any, tmp_path: Any) -> None:
    fake.expect("ExportSession", answer(pb.ExportSessionResponse(data=b"x", total_bytes=2)))
    with pytest.raises(DataLoss):
        session.export(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


# Deadlines, and who we are.


def test_deadlines_go_along(fake: Any, make_client: Any) -> None:
    client = make_client(fake.address, timeout=8, retry=RetryPolicy(first_delay=0.01))
    fake.expect("Generate", answer(full(0, 300_000_000)), answer(*whole()))
    client.generate("x")
    fake.expect("GetServerInfo", give(pb.ServerInfo()))
    client.server_info(timeout=5)
    first, second, third = fake.time_left
    # What is left, not as much again; gRPC rounds up a little.
    assert second < first - 0.2 < 8
    assert third < 6


def test_a_timeout_ends_the_call(fake: Any, make_client: Any) -> None:
    def slow(request: Any) -> Iterator[Any]:
        yield piece("a", 97, seq=1)
        time.sleep(1)

    client = make_client(fake.address, timeout=0.3)
    fake.expect("Generate", slow)
    with pytest.raises(DeadlineExceeded) as raised:
        client.generate("x")
    assert raised.value.reply.text == "a"
    assert isinstance(raised.value, TimeoutError)


def test_metadata(fake: Any, make_client: Any) -> None:
    client = make_client(fake.address, api_key="secret")
    assert "secret" not in repr(client)
    fake.expect("GetSession", at(10))
    client.session(SESSION).info()
    fake.expect("GetServerInfo", give(pb.ServerInfo()))
    client.server_info()
    with_session, without = fake.metadata
    assert with_session["authorization"] == without["authorization"] == "Bearer secret"
    assert with_session["cascade-session-id"] == SESSION and "cascade-session-id" not in without


def test_the_field_of_an_error(fake: Any, fake_client: Any) -> None:
    bad = status_details_pb2.BadRequest()
    bad.field_violations.add(field="sampling.top_k", description="..")
    details = packed(3, "type.googleapis.com/google.rpc.BadRequest", bad)
    for bytes_, field in ((details, "sampling.top_k"), (b"\xff\xff", ""), (b"", "")):
        fake.expect("Generate", answer(Failure(grpc.StatusCode.INVALID_ARGUMENT, "no", bytes_)))
        with pytest.raises(InvalidArgument) as raised:
            fake_client.generate("x")
        assert raised.value.field == field
        assert isinstance(raised.value, ValueError)


def test_no_server(make_client: Any) -> None:
    with pytest.raises(Unavailable):
        make_client("127.0.0.1:1", retry=RetryPolicy(attempts=2, first_delay=0.01)).server_info()

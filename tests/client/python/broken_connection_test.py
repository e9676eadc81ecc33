"""Both clients over a real server and a network that is cut, and over a server that dies."""

import threading
from typing import Any

import pytest
from cascade_client import Client, RetryPolicy, Unavailable
from conftest import LONG
from tiny_server import TinyServer

# Runs for a while, so that the cut comes in the middle.
STORY = {**LONG, "max_tokens": 2000}


@pytest.fixture
def over_proxy(proxy: Any, make_client: Any) -> Any:
    return make_client(proxy.address)


def test_a_turn_goes_on(proxy: Any, over_proxy: Any) -> None:
    session = over_proxy.create_session()
    whole = session.fork().send("Tell me", **STORY)
    before = proxy.connections
    proxy.cuts = [2000, 2000, 2000]
    with session.send("Tell me", stream=True, on_cancel="continue", **STORY) as stream:
        text = "".join(delta.text for delta in stream)
    assert proxy.cuts == [] and proxy.connections == before + 3
    assert text == whole.text and stream.result.token_ids == whole.token_ids
    assert stream.result.finish_reason == whole.finish_reason
    assert session.info().turns == 1 and session.position == whole.usage.position


def test_a_turn_that_nobody_watches_goes_on(proxy: Any, over_proxy: Any) -> None:
    session = over_proxy.create_session()
    whole = session.fork().send("Tell me", **STORY)
    proxy.cuts = [100, 300, 1000]
    reply = session.send("Tell me", **STORY)
    assert proxy.cuts == []
    assert reply.token_ids == whole.token_ids and reply.text == whole.text
    assert session.info().turns == 1


def test_a_turn_that_is_to_end_with_its_connection_ends(proxy: Any, over_proxy: Any) -> None:
    session = over_proxy.create_session()
    whole = session.fork().send("Tell me", **STORY)
    proxy.hold_after = 500
    with pytest.raises(Unavailable, match="on_cancel") as raised:
        with session.send("Tell me", stream=True, on_cancel="keep", **{**STORY, "max_tokens": 50_000}) as stream:
            next(iter(stream))
            proxy.cut()
            stream.read()
    # What was said until then is known, and is what the session has.
    part = raised.value.reply
    both = min(len(part.token_ids), len(whole.token_ids))
    assert 0 < both and part.token_ids[:both] == whole.token_ids[:both] and len(part.token_ids) < 50_000
    info = session.info()
    assert info.turns == 1 and info.position == part.usage.position


def test_a_turn_that_is_rolled_back_is_said_again(proxy: Any, over_proxy: Any) -> None:
    session = over_proxy.create_session()
    whole = session.fork().send("Tell me", **STORY)
    proxy.cuts = [500]
    with session.send("Tell me", stream=True, on_cancel="rollback", **STORY) as stream:
        assert "".join(delta.text for delta in stream) == whole.text
    assert proxy.cuts == []
    assert stream.result.token_ids == whole.token_ids
    assert session.info().turns == 1


def test_a_one_shot_says_that_it_broke(proxy: Any, over_proxy: Any) -> None:
    over_proxy.server_info()
    proxy.hold_after = 500
    with pytest.raises(Unavailable) as raised:
        with over_proxy.stream(messages=[("user", "Tell me")], **STORY) as stream:
            next(iter(stream))
            proxy.cut()
            stream.read()
    assert len(raised.value.reply.token_ids) > 0
    assert over_proxy.generate("Tell me", **{**STORY, "max_tokens": 3}).token_ids


def test_a_server_that_dies(make_client: Any) -> None:
    server = TinyServer()
    try:
        client = make_client(server.address, retry=RetryPolicy(attempts=50, budget=60))
        session = client.create_session()
        session.send("Hello", **{**LONG, "max_tokens": 5})
        whole = session.fork().send("Tell me", **STORY)
        with session.send("Tell me", stream=True, on_cancel="continue", **STORY) as stream:
            text = ""
            for delta in stream:
                if not text:
                    server.kill()
                    server.start()
                text += delta.text
        # The turn was not acknowledged, so it is run again, and says the same.
        assert text == whole.text and stream.result.token_ids == whole.token_ids
        assert session.info().turns == 2
        server.kill()
        server.start()
        assert session.send("Still there?", **{**LONG, "max_tokens": 5}).acknowledgement.turn == 3
    finally:
        server.close()


def test_a_server_that_starts_late(make_client: Any) -> None:
    server = TinyServer()
    try:
        server.stop()
        client = make_client(server.address, retry=RetryPolicy(attempts=100, budget=60))
        starter = threading.Timer(0.3, server.start)
        starter.start()
        assert client.server_info().model
        starter.join()
    finally:
        server.close()


def test_a_full_server(make_client: Any) -> None:
    server = TinyServer("--max-num-seqs", "1", "--max-num-queued-reqs", "1")
    try:
        clients = [make_client(server.address) for _ in range(4)]
        replies = []

        def ask(client: Any) -> None:
            replies.append(client.generate("x", **{**LONG, "max_tokens": 200}))

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(replies) == 4 and len({reply.text for reply in replies}) == 1
    finally:
        server.close()


def test_clients_do_not_share_a_connection(proxy: Any) -> None:
    with Client(proxy.address) as one, Client(proxy.address) as other:
        one.server_info()
        other.server_info()
    assert proxy.connections == 2

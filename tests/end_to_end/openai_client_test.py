"""The official OpenAI client, unchanged, against the server: what its users rely on."""
import asyncio
import concurrent.futures
import json
import math
import random
import socket
import time

import openai
import pytest

from http_server import HttpServer

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module", name="server")
def _server():
    server = HttpServer("--cache-tokens", "128", "--cache-memory-bytes", "64MiB", "--max-num-seqs", "16", data=True)
    yield server
    server.close()


@pytest.fixture(name="client")
def _client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_chat(client):
    reply = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=20, temperature=0, seed=1)
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.completion_tokens <= 20
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0
    again = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=20, temperature=0)
    assert again.choices[0].message.content == reply.choices[0].message.content


def test_an_answer_can_be_sent_back(client):
    reply = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=5)
    messages = [*HELLO, reply.choices[0].message, {"role": "user", "content": "And then?"}]
    assert client.chat.completions.create(model="tiny", messages=messages, max_tokens=5).choices


def test_streamed_chat_is_the_whole_one(client):
    request = {"model": "tiny", "messages": HELLO, "max_tokens": 30, "temperature": 0.8, "seed": 5}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_streaming_helper(client):
    request = {"model": "tiny", "messages": HELLO, "max_tokens": 30, "temperature": 0}
    whole = client.chat.completions.create(**request).choices[0].message.content
    # The helper takes a reply that max_tokens has cut for an error.
    with client.chat.completions.stream(**request, stop=whole[-2:]) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        assert stream.get_final_completion().choices[0].message.content == text


def test_completions(client):
    request = {"model": "tiny", "max_tokens": 12, "temperature": 0}
    reply = client.completions.create(prompt="Once upon", **request)
    assert reply.object == "text_completion" and reply.usage.completion_tokens <= 12
    both = client.completions.create(prompt=["Once upon", "A second one"], **request)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].text == reply.choices[0].text
    streamed = client.completions.create(prompt="Once upon", stream=True, **request)
    assert "".join(chunk.choices[0].text for chunk in streamed) == reply.choices[0].text
    echoed = client.completions.create(prompt="Once upon", echo=True, **request)
    assert echoed.choices[0].text == "Once upon" + reply.choices[0].text
    ids = client.post("/../tokenize", body={"prompt": "Once upon"}, cast_to=object)["tokens"]
    assert client.completions.create(prompt=ids, **request).choices[0].text == reply.choices[0].text
    default = client.completions.create(model="tiny", prompt="x", temperature=0, extra_body={"ignore_eos": True})
    assert default.usage.completion_tokens == 16


def test_stop(client):
    request = {"model": "tiny", "prompt": "Once upon", "max_tokens": 40, "temperature": 0}
    text = client.completions.create(**request).choices[0].text
    stop = text[len(text) // 2:len(text) // 2 + 2]
    cut = client.completions.create(stop=[stop], **request).choices[0]
    assert cut.finish_reason == "stop" and cut.stop_reason == stop
    assert cut.text == text[:text.index(stop)]


def test_logprobs(client):
    reply = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=8, temperature=0, logprobs=True,
                                           top_logprobs=3)
    content = reply.choices[0].logprobs.content
    assert len(content) == reply.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)  # greedy
        assert bytes(token.bytes).decode(errors="replace") == token.token
    streamed = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=8, temperature=0, logprobs=True,
                                              top_logprobs=3, stream=True)
    tokens = [t for chunk in streamed if chunk.choices[0].logprobs for t in chunk.choices[0].logprobs.content]
    assert [t.logprob for t in tokens] == [t.logprob for t in content]
    legacy = client.completions.create(model="tiny", prompt="abc", max_tokens=3, temperature=0, logprobs=2, echo=True)
    logprobs = legacy.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None and all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert "".join(logprobs.tokens[:3]) == "abc" and logprobs.text_offset[:3] == [0, 1, 2]


def test_n_is_separate_requests_with_the_following_seeds(client):
    request = {"model": "tiny", "messages": HELLO, "max_tokens": 10, "temperature": 1.2}
    many = client.chat.completions.create(**request, n=3, seed=40)
    alone = [client.chat.completions.create(**request, seed=40 + i).choices[0].message.content for i in range(3)]
    assert [choice.message.content for choice in many.choices] == alone
    assert len(set(alone)) > 1


def test_sampling_fields(client):
    biased = client.completions.create(model="tiny", prompt="x", max_tokens=5, temperature=0, logit_bias={"10": 100},
                                       extra_body={"ignore_eos": True})
    token = client.post("/../detokenize", body={"tokens": [10] * 5}, cast_to=object)["prompt"]
    assert biased.choices[0].text == token
    reply = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=10, frequency_penalty=0.5, presence_penalty=0.5, top_p=0.9, user="u",
        metadata={"a": "b"}, store=False,
        extra_body={"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "min_tokens": 3, "priority": 1})
    assert reply.usage.completion_tokens >= 3


def test_json_schema(client):
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}, "n": {"enum": [1, 2]}},
              "required": ["yes", "n"], "additionalProperties": False}
    reply = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}})
    assert reply.choices[0].finish_reason == "stop"
    answer = json.loads(reply.choices[0].message.content)
    assert isinstance(answer["yes"], bool) and answer["n"] in (1, 2) and len(answer) == 2
    bad = {"type": "object", "properties": {"a": {"type": "strange"}}}
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="tiny", messages=HELLO, response_format={
            "type": "json_schema", "json_schema": {"name": "bad", "schema": bad}})
    assert "/properties/a" in str(error.value)


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "cascade"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")


@pytest.mark.parametrize("fields, error, param", [
    ({"temperature": 3}, openai.BadRequestError, "temperature"),
    ({"top_p": 0}, openai.BadRequestError, "top_p"),
    ({"max_tokens": -1}, openai.BadRequestError, "max_tokens"),
    ({"n": 17}, openai.BadRequestError, "n"),
    ({"stop": [""]}, openai.BadRequestError, "stop[0]"),
    ({"logit_bias": {"99999": 1}}, openai.BadRequestError, "logit_bias"),
    ({"frequency_penalty": 5}, openai.BadRequestError, "frequency_penalty"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools"),
    ({"messages": []}, openai.BadRequestError, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     openai.BadRequestError, "messages[0].content[0]"),
    ({"extra_body": {"unheard_of": 1}}, openai.BadRequestError, "unheard_of"),
    ({"model": "gpt-4"}, openai.NotFoundError, "model"),
    ({"extra_body": {"session_id": "00" * 16}}, openai.NotFoundError, None),
])
def test_error_classes(client, fields, error, param):
    with pytest.raises(error) as raised:
        client.chat.completions.create(**{"model": "tiny", "messages": HELLO, "max_tokens": 1, **fields})
    assert raised.value.param is None if param is None else raised.value.param.startswith(param)


def test_a_full_queue_is_a_rate_limit():
    server = HttpServer("--cache-tokens", "128", "--cache-memory-bytes", "16MiB", "--max-num-seqs", "1",
                        "--max-num-queued-reqs", "1")
    try:
        with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            streams = [client.completions.create(model="tiny", prompt="x", max_tokens=100000, stream=True,
                                                 extra_body={"ignore_eos": True})]
            wait_until(lambda: server.metric("turns_running") == 1)
            with pytest.raises(openai.RateLimitError) as error:
                for _ in range(3):
                    streams.append(client.completions.create(model="tiny", prompt="x", stream=True))
            assert error.value.response.headers["retry-after"] == "1"
            for stream in streams:
                stream.close()
            wait_until(lambda: server.metric("turns_running") == 0)
    finally:
        server.close()


def test_cancelling_in_the_middle_frees_the_slot(server, client):
    free = server.metric("slots_free")
    stream = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=1000000, stream=True,
                                            extra_body={"ignore_eos": True})
    for _, chunk in zip(range(5), stream):
        assert chunk.choices
    wait_until(lambda: server.metric("turns_running") == 1)
    stream.close()
    wait_until(lambda: server.metric("turns_running") == 0 and server.metric("slots_free") == free)


def test_clients_that_leave_anywhere_cost_nothing(server):
    fields = {"model": "tiny", "prompt": "x", "max_tokens": 100000, "stream": True, "ignore_eos": True}
    body = json.dumps(fields).encode()
    request = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n" % len(body)) + body
    free = server.metric("slots_free")
    chance = random.Random(1)
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            sent = bytearray(request if chance.random() < 0.5 else request[:chance.randrange(len(request))])
            if sent and chance.random() < 0.3:
                sent[chance.randrange(len(sent))] = chance.randrange(256)
            client.sendall(sent)
            if len(sent) == len(request) and chance.random() < 0.5:
                client.settimeout(0.05)
                try:
                    client.recv(1000)
                except OSError:
                    pass
    wait_until(lambda: server.metric("turns_running") + server.metric("turns_waiting") == 0)
    wait_until(lambda: server.metric("slots_free") == free and server.metric("http_connections") <= 2)


def test_fifty_streams_at_once(server):
    request = {"model": "tiny", "max_tokens": 20, "temperature": 0}

    async def run():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0,
                                      timeout=120) as client:
            async def one(i):
                stream = await client.chat.completions.create(
                    messages=[{"role": "user", "content": f"Number {i}"}], stream=True, **request)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            async def whole(i):
                reply = await client.chat.completions.create(
                    messages=[{"role": "user", "content": f"Number {i}"}], **request)
                return reply.choices[0].message.content

            streamed = await asyncio.gather(*(one(i) for i in range(50)))
            assert list(streamed) == [await whole(i) for i in range(50)]

    asyncio.run(run())


def test_threads(client):
    def one(i):
        reply = client.completions.create(model="tiny", prompt=f"Number {i}", max_tokens=10, temperature=0)
        return reply.choices[0].text

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(one, range(64)))) == 64


def test_sessions(client):
    session = client.post("/sessions", body={"label": "test"}, cast_to=object)
    session_id = session["id"]
    try:
        position = 0
        for turn in range(3):
            reply = client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": f"Turn {turn}"}], max_tokens=40,
                extra_body={"session_id": session_id, "expected_position": position, "turn_id": str(turn)})
            assert reply.cascade["turn"] == turn + 1
            assert reply.cascade["position"] > position
            position = reply.cascade["position"]
            assert reply.usage.cascade["position"] == position
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="tiny", messages=HELLO, extra_body={
                "session_id": session_id, "expected_position": position + 1})
        memory = client.get(f"/sessions/{session_id}/memory?buckets=64", cast_to=object)
        assert memory["position"] == position
        assert memory["tokens_resident"] + memory["tokens_evicted"] == position
        assert len(memory["sinks"]["held"]) <= 64
        rewound = client.post(f"/sessions/{session_id}/rewind", body={"to_turn": 1}, cast_to=object)
        assert rewound["position"] < position and rewound["turns"] == 1
        fork = client.post(f"/sessions/{session_id}/fork", body={}, cast_to=object)
        assert fork["position"] == rewound["position"]
        client.delete(f"/sessions/{fork['id']}", cast_to=object)
    finally:
        client.delete(f"/sessions/{session_id}", cast_to=object)


def test_a_resent_conversation_reads_only_what_is_new(client):
    messages = []
    for turn in range(10):
        messages.append({"role": "user", "content": f"This is message number {turn} of a conversation that grows."})
        reply = client.chat.completions.create(model="tiny", messages=messages, max_tokens=12, temperature=0)
        if turn > 0:
            assert reply.usage.prompt_tokens - reply.usage.prompt_tokens_details.cached_tokens < 150
            assert reply.usage.prompt_tokens_details.cached_tokens > 0
        messages.append({"role": "assistant", "content": reply.choices[0].message.content})


def test_prompt_logprobs(client):
    reply = client.completions.create(model="tiny", prompt="abcd", max_tokens=1, extra_body={"prompt_logprobs": 1})
    listed = reply.choices[0].prompt_logprobs
    assert listed[0] is None and len(listed) == reply.usage.prompt_tokens
    assert all(math.isfinite(value["logprob"]) for entry in listed[1:] for value in entry.values())

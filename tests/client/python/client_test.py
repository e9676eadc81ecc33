"""Both clients over a real server: what does not need a session."""

import math
from typing import Any

import conftest
import pytest
from cascade_client import Client, FinishReason, InvalidArgument, NotFound, RetryPolicy, TlsOptions, Unavailable

# The same of a prompt without a template.
LONG = {**conftest.LONG, "seed": 7}


def test_server_info(client: Any) -> None:
    info = client.server_info()
    assert (info.architecture, info.vocabulary_size, info.num_layers, info.num_kv_heads) == ("llama", 272, 2, 2)
    assert info.has_data_dir and info.has_chat_template and info.sessions_take_messages
    assert sum(info.geometry.sub_cache_tokens) == 128


def test_generate(client: Any) -> None:
    reply = client.generate("Once upon a time", max_tokens=5, **without_length())
    assert len(reply.token_ids) == 5 and reply.finish_reason == FinishReason.LENGTH
    assert reply.usage.completion_tokens == 5 and reply.usage.prompt_tokens == len(client.tokenize("Once upon a time"))
    assert str(reply) == reply.text
    # The same in other words.
    ids = client.tokenize("Once upon a time")
    assert client.generate(token_ids=ids, max_tokens=5, **without_length()).token_ids == reply.token_ids
    assert (
        client.generate("Once upon a time", max_tokens=5, **{**without_length(), "seed": 8}).token_ids
        != reply.token_ids
    )


def test_messages(client: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, ("user", "Hello")]
    template = client.apply_chat_template(messages)
    assert "Be brief.<|im_end|>" in template.text and template.text.endswith("assistant\n")
    assert not client.apply_chat_template(messages, add_generation_prompt=False).text.endswith("assistant\n")
    by_messages = client.generate(messages=messages, max_tokens=5, **without_length())
    assert by_messages.usage.prompt_tokens == len(template.token_ids)
    assert (
        client.generate(token_ids=template.token_ids, max_tokens=5, **without_length()).token_ids
        == by_messages.token_ids
    )
    special = client.generate(template.text, parse_special=True, max_tokens=5, **without_length())
    assert special.token_ids == by_messages.token_ids


def test_stream(client: Any) -> None:
    whole = client.generate("Once upon a time", **LONG)
    with client.stream("Once upon a time", **LONG) as stream:
        with pytest.raises(RuntimeError, match="has not ended"):
            stream.result
        deltas = list(stream)
    assert "".join(delta.text for delta in deltas) == whole.text == stream.result.text
    assert [each for delta in deltas for each in delta.token_ids] == whole.token_ids
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == whole.finish_reason and deltas[-1].seq == len(whole.token_ids)
    assert len(deltas) > 10


def test_a_stream_that_is_left_ends(client: Any) -> None:
    with client.stream("Once upon a time", **LONG) as stream:
        for delta in stream:
            if delta.seq >= 3:
                break
    assert stream.result.finish_reason is None and 3 <= len(stream.result.token_ids) < 400
    assert list(stream) == []
    stream.close()


def test_stop(client: Any) -> None:
    whole = client.generate("Once upon a time", **LONG).text
    stop = next(c for c in whole if "a" <= c <= "z")
    reply = client.generate("Once upon a time", stop=stop, **LONG)
    assert reply.finish_reason == FinishReason.STOP_SEQUENCE and reply.stop_sequence == stop
    assert reply.text == whole[: whole.index(stop)]


def test_tokens(client: Any) -> None:
    text = "Grüße, 世界 <|im_end|>"
    assert client.detokenize(client.tokenize(text)) == text
    assert len(client.tokenize("<|im_end|>", parse_special=True)) == 1 < len(client.tokenize("<|im_end|>"))


def test_score(client: Any) -> None:
    scores = client.score("Once upon a time")
    ids = client.tokenize("Once upon a time")
    assert scores.token_ids == ids[1:] and len(scores.top_ids) == len(scores.top_margins) == len(scores.logprobs)
    assert scores.total == pytest.approx(sum(scores.logprobs)) and scores.total < 0
    assert scores.perplexity == pytest.approx(math.exp(-scores.total / len(scores.logprobs)))
    assert client.score(token_ids=ids).logprobs == scores.logprobs


@pytest.mark.parametrize(
    "field, options",
    [
        ("sampling.temperature", {"temperature": 9}),
        ("stopping.max_tokens", {"max_tokens": -1}),
        ("temperature", {"temperature": "hot"}),
        ("seed", {"seed": -1}),
        ("top_k", {"top_k": 1 << 40}),
        ("stop", {"stop": 5}),
        ("stop", {"stop": [b"\xff"]}),
        ("stop_token_ids", {"stop_token_ids": ["a"]}),
        ("logit_bias", {"logit_bias": {"a": 1}}),
        ("logit_bias", {"logit_bias": [1]}),
        ("json_schema", {"json_schema": {"a": object()}}),
        ("json_schema", {"json_schema": {}, "json_object": True}),
        ("prompt", {"messages": []}),
        ("prompt", {"token_ids": []}),
        ("timeout", {"timeout": 0}),
        ("echo", {"echo": "yes"}),
    ],
)
def test_wrong_options(client: Any, field: str, options: Any) -> None:
    with pytest.raises(InvalidArgument) as raised:
        client.generate("x", **options)
    assert raised.value.field == field
    assert raised.value.message.startswith(field) or field == "prompt"


@pytest.mark.parametrize(
    "field, messages",
    [
        ("messages", "hello"),
        ("messages", {"role": "user", "content": "x"}),
        ("messages[0]", ["hello"]),
        ("messages[1]", [("user", "x"), {"role": "user"}]),
        ("messages[0]", [{"role": "user", "content": "x", "name": "y"}]),
        ("messages[0].content", [("user", 5)]),
        ("messages[0].role", [{"role": None, "content": ""}]),
    ],
)
def test_wrong_messages(client: Any, field: str, messages: Any) -> None:
    with pytest.raises(InvalidArgument) as raised:
        client.generate(messages=messages)
    assert raised.value.field == field and raised.value.message.startswith(field)


def test_nothing_to_say(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="exactly one of prompt, messages and token_ids"):
        client.generate()


def test_unknown_options(client: Any) -> None:
    with pytest.raises(TypeError, match="'temprature'; is 'temperature' meant"):
        client.generate("x", temprature=1)
    with pytest.raises(TypeError, match="'on_cancel'"):
        client.generate("x", on_cancel="keep")


@pytest.mark.parametrize(
    "field, arguments",
    [
        ("address", {"address": ""}),
        ("address", {"address": "http://127.0.0.1:1"}),
        ("address", {"address": "a b"}),
        ("api_key", {"api_key": ""}),
        ("api_key", {"api_key": "key\n"}),
        ("tls", {"tls": True}),
        ("timeout", {"timeout": -1}),
    ],
)
def test_wrong_clients(make_client: Any, field: str, arguments: Any) -> None:
    with pytest.raises(InvalidArgument) as raised:
        make_client(**arguments)
    assert raised.value.field == field


def test_wrong_settings() -> None:
    with pytest.raises(InvalidArgument, match="together"):
        TlsOptions(private_key=b"x")
    with pytest.raises(InvalidArgument, match="root_certificates cannot be read"):
        Client(tls=TlsOptions(root_certificates="/no/such/file"))
    with pytest.raises(InvalidArgument, match="attempts"):
        RetryPolicy(attempts=0)
    with pytest.raises(InvalidArgument, match="budget"):
        RetryPolicy(budget=-1)


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(TlsOptions(certificate_chain=b"c", private_key=b"secret"))


def test_tls_is_spoken(server: Any, make_client: Any) -> None:
    client = make_client(server.address, tls=TlsOptions(), retry=RetryPolicy(attempts=1))
    with pytest.raises(Unavailable):  # the server speaks plain text
        client.server_info()


def test_unknown_sessions(client: Any) -> None:
    with pytest.raises(NotFound):
        client.session("0" * 32).send("x")
    for wrong in ("", "a b", "é", None):
        with pytest.raises(InvalidArgument, match="session_id"):
            client.session(wrong)


def without_length() -> Any:
    return {name: value for name, value in LONG.items() if name != "max_tokens"}

"""Both clients over a real server: what a reply can be asked for."""

import json
from typing import Any

import pytest
from cascade_client import FinishReason
from conftest import LONG

PROMPT = "Once upon a time"
REPLY = {**LONG, "seed": 7, "max_tokens": 40}


def test_ignore_eos(client: Any) -> None:
    assert len(client.generate(PROMPT, **REPLY).token_ids) == 40


def test_logprobs(client: Any) -> None:
    reply = client.generate(PROMPT, logprobs=3, prompt_logprobs=2, **REPLY)
    assert [each.token_id for each in reply.logprobs] == reply.token_ids
    assert all(len(each.top) == 3 and each.logprob <= each.top[0].logprob for each in reply.logprobs)
    ids = client.tokenize(PROMPT)
    assert [each.token_id for each in reply.prompt_logprobs] == ids[1:]
    scores = client.score(token_ids=ids + reply.token_ids)
    found = [each.logprob for each in reply.prompt_logprobs + reply.logprobs]
    assert found == pytest.approx(scores.logprobs, abs=1e-4)
    with client.stream(PROMPT, logprobs=0, **REPLY) as stream:
        assert [each.token_id for delta in stream for each in delta.logprobs] == reply.token_ids
    assert not client.generate(PROMPT, **REPLY).logprobs


def test_many(client: Any) -> None:
    replies = client.generate_many(3, PROMPT, **REPLY)
    assert [each.index for each in replies] == [0, 1, 2]
    for i, each in enumerate(replies):
        assert each.token_ids == client.generate(PROMPT, **{**REPLY, "seed": REPLY["seed"] + i}).token_ids


def test_rules(client: Any) -> None:
    free = client.generate(PROMPT, **REPLY).token_ids
    assert free[0] not in client.generate(PROMPT, logit_bias={free[0]: -100}, **REPLY).token_ids
    assert set(client.generate(PROMPT, allowed_token_ids=[50, 60, 70], **REPLY).token_ids) <= {50, 60, 70}
    repeated = client.generate(
        PROMPT, allowed_token_ids=[50, 60, 70], frequency_penalty=2, **{**REPLY, "temperature": 0}
    )
    assert set(repeated.token_ids) == {50, 60, 70}


def test_ends(client: Any) -> None:
    free = client.generate(PROMPT, **REPLY).token_ids
    stop = free[10]
    at = free.index(stop)
    reply = client.generate(PROMPT, stop_token_ids=[stop], **REPLY)
    assert reply.finish_reason == FinishReason.STOP and reply.stop_token_id == stop
    assert reply.token_ids == free[: at + 1]
    later = client.generate(PROMPT, stop_token_ids=[stop], min_tokens=at + 1, **REPLY)
    assert len(later.token_ids) > at + 1 and stop not in later.token_ids[: at + 1]


def test_echo(client: Any) -> None:
    assert client.generate(PROMPT, echo=True, **REPLY).text == PROMPT + client.generate(PROMPT, **REPLY).text


def test_json_schema(client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    reply = client.generate(PROMPT, json_schema=schema, max_tokens=300, seed=1)
    assert reply.finish_reason == FinishReason.STOP
    assert set(json.loads(reply.text)) == {"ok"}

"""Options on the wire, without a server."""

from typing import Any, Set

import pytest
from cascade_client import GenerateOptions, InvalidArgument, TurnOptions
from cascade_client.options import generate_request, prompt
from cascade_client.wire import cascade_pb2 as pb


def request(**options: Any) -> pb.GenerateRequest:
    return generate_request(prompt("x", None, None), options, turn=True)


@pytest.mark.parametrize(
    "where, values",
    [
        (
            "sampling",
            {
                "temperature": 0.5,
                "top_k": 7,
                "top_p": 0.25,
                "min_p": 0.125,
                "seed": 2**64 - 1,
                "repetition_penalty": 1.5,
                "repeat_last_n": 0,
                "frequency_penalty": -0.5,
                "presence_penalty": 0.75,
            },
        ),
        ("stopping", {"max_tokens": 0, "min_tokens": 3, "ignore_eos": True, "include_stop": True}),
        (
            "",
            {
                "logprobs": 0,
                "prompt_logprobs": 5,
                "echo": True,
                "priority": -100,
                "expected_position": 0,
                "turn_id": "name",
            },
        ),
    ],
)
def test_plain_values(where: str, values: Any) -> None:
    made = request(**values)
    target = getattr(made, where) if where else made
    for name, value in values.items():
        assert getattr(target, name) == value
        assert not target.DESCRIPTOR.fields_by_name[name].has_presence or target.HasField(name)
    # Nothing else is set, so that the server's defaults hold.
    names = {field.name for field, _ in target.ListFields()}
    assert names - {"prompt", "sampling", "stopping", "response_format"} == set(values)


def test_lists_and_maps() -> None:
    made = request(logit_bias={3: -100, 5: 1.5}, allowed_token_ids=range(4), stop_token_ids={9}, stop=["a", "b"])
    assert dict(made.sampling.logit_bias) == {3: -100, 5: 1.5}
    assert list(made.sampling.allowed_token_ids) == [0, 1, 2, 3]
    assert list(made.stopping.stop_token_ids) == [9] and list(made.stopping.stop) == ["a", "b"]
    assert list(request(stop="ab").stopping.stop) == ["ab"]


def test_formats() -> None:
    assert request(json_schema={"type": "object"}).response_format.json_schema == '{"type": "object"}'
    assert request(json_schema='{"type":"object"}').response_format.json_schema == '{"type":"object"}'
    assert request(json_object=True).response_format.json_object
    assert not request(json_object=False).HasField("response_format")


def test_turns() -> None:
    made = request(on_cancel="rollback", durability="image")
    assert made.on_cancel == pb.ON_CANCEL_ROLLBACK and made.durability == pb.DURABILITY_IMAGE
    assert request(temperature=None, stop=None, on_cancel=None) == request()


def test_every_field_of_the_wire_has_an_option() -> None:
    def fields(message: Any) -> Set[str]:
        return {field.name for field in message.DESCRIPTOR.fields}

    options = set(GenerateOptions.__annotations__) | set(TurnOptions.__annotations__)
    assert fields(pb.SamplingParams) | fields(pb.StopParams) | fields(pb.ResponseFormat) <= options
    # The rest is arguments of the methods.
    assert fields(pb.GenerateRequest) - options == {
        "session_id",
        "prompt",
        "sampling",
        "stopping",
        "n",
        "response_format",
    }


def test_prompts() -> None:
    assert prompt("", None, None).WhichOneof("kind") == "text"
    assert prompt(None, [], None).WhichOneof("kind") == "messages"
    assert prompt(None, None, []).WhichOneof("kind") == "token_ids"
    assert prompt("x", None, None, True).parse_special
    for arguments in ((None, None, None), ("x", [], None), (None, [], [])):
        with pytest.raises(InvalidArgument, match="exactly one of"):
            prompt(*arguments)


def test_values_are_not_repeated_in_errors() -> None:
    for options in ({"temperature": "a secret"}, {"stop": [b"a secret\xff"]}, {"turn_id": b"a secret\xff"}):
        with pytest.raises(InvalidArgument) as raised:
            request(**options)
        assert "secret" not in str(raised.value)

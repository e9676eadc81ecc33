"""What a call may ask for: the keyword arguments of generate(), send() and their kin, and how they go on the wire.

Ranges and defaults are the server's (proto/cascade/v1/generate.proto); it names a field that is wrong. Here only types
are checked, which the wire could not carry.
"""

from __future__ import annotations

import difflib
import json
from enum import Enum
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Tuple, TypedDict, Union

from cascade_client.errors import InvalidArgument
from cascade_client.replies import Durability, OnCancel
from cascade_client.wire import cascade_pb2 as pb

# {"role": .., "content": ..}, as everywhere, or (role, content).
Message = Union[Mapping[str, str], Tuple[str, str]]


class GenerateOptions(TypedDict, total=False):
    """Of a reply. What is not given is the server's default."""

    temperature: float  # [0, 2]; 0 is greedy; default 1
    top_k: int
    top_p: float
    min_p: float
    seed: int
    repetition_penalty: float
    repeat_last_n: int
    frequency_penalty: float
    presence_penalty: float
    logit_bias: Mapping[int, float]  # token id to what is added to its logit, [-100, 100]
    allowed_token_ids: Iterable[int]
    max_tokens: int  # 0 only feeds the prompt
    stop: Union[str, Sequence[str]]
    min_tokens: int
    stop_token_ids: Iterable[int]
    ignore_eos: bool
    include_stop: bool
    logprobs: int  # [0, 20] of the most probable tokens beside each sampled one
    prompt_logprobs: int
    echo: bool
    json_schema: Union[str, Mapping[str, Any]]  # the reply is a document that it accepts
    json_object: bool  # the reply is a JSON object
    priority: int  # [-100, 100]; of turns that wait, higher ones start first
    parse_special: bool  # with a text prompt: control tokens are recognised


class TurnOptions(GenerateOptions, total=False):
    """Of a session's turn."""

    on_cancel: Union[OnCancel, str]
    durability: Union[Durability, str]
    expected_position: int  # default: what this client knows
    turn_id: str  # default: made for each turn


_SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "repetition_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
)
_STOPPING = ("max_tokens", "min_tokens", "ignore_eos", "include_stop")
_TOP = ("logprobs", "prompt_logprobs", "echo", "priority")
ONE_SHOT = frozenset(GenerateOptions.__annotations__)
TURN = frozenset(TurnOptions.__annotations__) | ONE_SHOT


def prompt(
    text: Optional[str],
    messages: Optional[Iterable[Message]],
    token_ids: Optional[Iterable[int]],
    parse_special: bool = False,
    text_name: str = "prompt",
) -> pb.Prompt:
    """Exactly one of the three."""
    given = [
        name
        for name, value in ((text_name, text), ("messages", messages), ("token_ids", token_ids))
        if value is not None
    ]
    if len(given) != 1:
        raise InvalidArgument(
            f"exactly one of {text_name}, messages and token_ids must be given, got " + (" and ".join(given) or "none"),
            field="prompt",
        )
    result = pb.Prompt()
    if text is not None:
        set_field(result, "text", text, text_name)
    elif messages is not None:
        result.messages.SetInParent()
        result.messages.messages.extend(message_list(messages))
    else:
        result.token_ids.SetInParent()
        set_list(result.token_ids.ids, token_ids or (), "token_ids")
    set_field(result, "parse_special", parse_special)
    return result


def message_list(messages: Iterable[Message]) -> List[pb.Message]:
    if isinstance(messages, (str, bytes, Mapping)):
        raise InvalidArgument("messages must be a list of messages, each with a role and a content", field="messages")
    result = []
    for index, message in enumerate(messages):
        name = f"messages[{index}]"
        if isinstance(message, Mapping):
            unknown = sorted(set(message) - {"role", "content"})
            if unknown or len(message) != 2:
                raise InvalidArgument(
                    f"{name} must have a role and a content"
                    + (f" and nothing else; it has {unknown[0]!r}" if unknown else ""),
                    field=name,
                )
            role, content = message["role"], message["content"]
        elif isinstance(message, tuple) and len(message) == 2:
            role, content = message
        else:
            raise InvalidArgument(f"{name} must be {{'role': .., 'content': ..}} or (role, content)", field=name)
        result.append(pb.Message())
        set_field(result[-1], "role", role, f"{name}.role")
        set_field(result[-1], "content", content, f"{name}.content")
    return result


def generate_request(the_prompt: pb.Prompt, options: Mapping[str, Any], *, turn: bool) -> pb.GenerateRequest:
    """`options` are GenerateOptions, or TurnOptions with `turn`; parse_special is already in the prompt."""
    check_names(options, TURN if turn else ONE_SHOT)
    request = pb.GenerateRequest(prompt=the_prompt)
    given = {name: value for name, value in options.items() if value is not None}
    for target, names in ((request.sampling, _SAMPLING), (request.stopping, _STOPPING), (request, _TOP)):
        for name in names:
            if name in given:
                set_field(target, name, given[name])
    set_list(request.sampling.allowed_token_ids, given.get("allowed_token_ids", ()), "allowed_token_ids")
    set_list(request.stopping.stop_token_ids, given.get("stop_token_ids", ()), "stop_token_ids")
    stop = given.get("stop", ())
    set_list(request.stopping.stop, (stop,) if isinstance(stop, str) else stop, "stop")
    try:
        request.sampling.logit_bias.update(given.get("logit_bias", {}))
    except (TypeError, ValueError) as error:
        raise InvalidArgument("logit_bias must map token ids to numbers", field="logit_bias") from error
    _set_format(request, given)
    if turn:
        set_turn(request, given)
    return request


def set_turn(request: Any, given: Mapping[str, Any]) -> None:
    """The options that GenerateRequest and ScoreRequest of a session share."""
    for name in ("expected_position", "turn_id"):
        if given.get(name) is not None:
            set_field(request, name, given[name])
    if given.get("on_cancel") is not None:
        request.on_cancel = enum_value(OnCancel, given["on_cancel"], "on_cancel")
    if given.get("durability") is not None:
        request.durability = enum_value(Durability, given["durability"], "durability")


def enum_value(kind: Any, value: Any, name: str) -> Any:
    """The wire's number of `value`, a member of `kind` or its text."""
    try:
        member: Enum = kind(value)
    except ValueError:
        known = ", ".join(repr(each.value) for each in kind)
        raise InvalidArgument(f"{name} must be one of {known}, got {value!r}", field=name) from None
    prefix = {"OnCancel": "ON_CANCEL", "Durability": "DURABILITY", "ParkTarget": "PARK_TARGET"}[kind.__name__]
    return getattr(pb, f"{prefix}_{member.name}")


def check_names(options: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise TypeError(f"unknown option {name!r}" + (f"; is {close[0]!r} meant?" if close else ""))


def _set_format(request: pb.GenerateRequest, given: Mapping[str, Any]) -> None:
    schema = given.get("json_schema")
    if schema is not None and given.get("json_object"):
        raise InvalidArgument("json_schema and json_object must not be given together", field="json_schema")
    if schema is not None:
        if not isinstance(schema, str):
            try:
                schema = json.dumps(schema)
            except (TypeError, ValueError) as error:
                raise InvalidArgument(f"json_schema must be a JSON schema: {error}", field="json_schema") from error
        set_field(request.response_format, "json_schema", schema)
    elif given.get("json_object"):
        request.response_format.json_object = True


def set_field(target: Any, field: str, value: Any, name: Optional[str] = None) -> None:
    try:
        setattr(target, field, value)
    except (TypeError, ValueError) as error:
        # protobuf's own words do not always name the field, and may have the value.
        wanted = {
            "text": "a text",
            "label": "a text",
            "content": "a text",
            "role": "a text",
            "turn_id": "a text",
            "json_schema": "a text",
            "echo": "true or false",
            "ignore_eos": "true or false",
            "include_stop": "true or false",
            "parse_special": "true or false",
            "replay": "true or false",
            "allow_replay": "true or false",
        }.get(field, "a number that the field can hold")
        raise InvalidArgument(
            f"{name or field} must be {wanted}, got {type(value).__name__}", field=name or field
        ) from error


def set_list(target: Any, values: Any, name: str) -> None:
    kind = "texts" if name == "stop" else "token ids"
    try:
        target.extend(values)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} must be a list of {kind}", field=name) from error

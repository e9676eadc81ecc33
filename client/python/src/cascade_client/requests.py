"""Requests, as the sync and the async client make them."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional, Sequence, Union

from cascade_client.errors import InvalidArgument
from cascade_client.options import (
    ONE_SHOT,
    TURN,
    Message,
    check_names,
    enum_value,
    generate_request,
    prompt,
    set_field,
    set_list,
    set_turn,
)
from cascade_client.place import Place
from cascade_client.replies import Durability, OnCancel, ParkTarget
from cascade_client.wire import cascade_pb2 as pb


def one_shot(
    text: Optional[str],
    messages: Optional[Iterable[Message]],
    token_ids: Optional[Iterable[int]],
    n: Optional[int],
    given: Mapping[str, Any],
) -> pb.GenerateRequest:
    check_names(given, ONE_SHOT)
    the_prompt = prompt(text, messages, token_ids, given.get("parse_special", False))
    request = generate_request(the_prompt, given, turn=False)
    if n is not None:
        set_field(request, "n", n)
        if not 1 <= n <= 16:  # how many last messages to wait for
            raise InvalidArgument(f"n must be in [1, 16], got {n}", field="n")
    return request


def session_turn(
    text: Optional[str],
    messages: Optional[Iterable[Message]],
    bare: Optional[str],
    token_ids: Optional[Iterable[int]],
    given: Mapping[str, Any],
    on_cancel: OnCancel,
) -> pb.GenerateRequest:
    check_names(given, TURN)
    if text is not None:
        if messages is not None or bare is not None or token_ids is not None:
            raise InvalidArgument("exactly one of text, messages, prompt and token_ids must be given", field="prompt")
        if not isinstance(text, str):
            raise InvalidArgument(f"text must be a text, got {type(text).__name__}", field="text")
        messages = [("user", text)]
    elif messages is None and bare is None and token_ids is None:
        raise InvalidArgument("exactly one of text, messages, prompt and token_ids must be given", field="prompt")
    the_prompt = prompt(bare, messages, token_ids, given.get("parse_special", False))
    request = generate_request(the_prompt, given, turn=True)
    if given.get("on_cancel") is None:
        request.on_cancel = enum_value(OnCancel, on_cancel, "on_cancel")
    return request


def session_score(
    text: Optional[str], token_ids: Optional[Iterable[int]], parse_special: bool, given: Mapping[str, Any], place: Place
) -> pb.ScoreRequest:
    check_names(given, ("on_cancel", "durability", "expected_position"))
    request = pb.ScoreRequest(session_id=place.session_id, prompt=prompt(text, None, token_ids, parse_special, "text"))
    set_position(request, place)
    set_turn(request, given)
    return request


def set_position(request: Any, place: Place) -> None:
    """Where the call and the handle know one."""
    if "expected_position" in request.DESCRIPTOR.fields_by_name and place.position is not None:
        request.expected_position = place.position


def tokenize(text: str, parse_special: bool) -> pb.TokenizeRequest:
    request = pb.TokenizeRequest()
    set_field(request, "text", text)
    set_field(request, "parse_special", parse_special)
    return request


def detokenize(token_ids: Iterable[int]) -> pb.DetokenizeRequest:
    request = pb.DetokenizeRequest()
    set_list(request.token_ids, token_ids, "token_ids")
    return request


def create_session(label: str, durability: Union[Durability, str, None]) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest()
    _set_label(request, label, durability)
    return request


def import_options(label: str, durability: Union[Durability, str, None], replay: bool) -> pb.ImportOptions:
    request = pb.ImportOptions()
    _set_label(request, label, durability)
    set_field(request, "replay", replay)
    return request


def list_sessions(page_size: int) -> pb.ListSessionsRequest:
    request = pb.ListSessionsRequest()
    set_field(request, "page_size", page_size)
    return request


def fork(place: Place, label: str) -> pb.ForkSessionRequest:
    request = pb.ForkSessionRequest(session_id=place.session_id)
    set_field(request, "label", label)
    return request


def rewind(place: Place, turns: Optional[int], to_turn: Optional[int], allow_replay: bool) -> pb.RewindSessionRequest:
    if turns is not None and to_turn is not None:
        raise InvalidArgument("turns and to_turn must not be given together", field="turns")
    request = pb.RewindSessionRequest(session_id=place.session_id)
    set_field(request, "allow_replay", allow_replay)
    if to_turn is not None:
        set_field(request, "to_turn", to_turn)
    else:
        set_field(request, "take_back", 1 if turns is None else turns, "turns")
    return request


def park(place: Place, target: Union[ParkTarget, str, None]) -> pb.ParkSessionRequest:
    request = pb.ParkSessionRequest(session_id=place.session_id)
    if target is not None:
        request.target = enum_value(ParkTarget, target, "target")
    return request


def inspect(session_id: str, layers: Sequence[int], kv_heads: Sequence[int]) -> pb.InspectSessionRequest:
    request = pb.InspectSessionRequest(session_id=session_id)
    set_list(request.layers, layers, "layers")
    set_list(request.kv_heads, kv_heads, "kv_heads")
    return request


def check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 0:
        raise InvalidArgument(f"{name} must be a whole number of at least 0, got {value!r}", field=name)


def _set_label(request: Any, label: str, durability: Union[Durability, str, None]) -> None:
    set_field(request, "label", label)
    if durability is not None:
        request.durability = enum_value(Durability, durability, "durability")

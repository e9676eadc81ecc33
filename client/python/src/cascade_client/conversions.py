"""From the wire to plain values. A value that a newer server has and this client does not know is None."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, AsyncIterable, Dict, Iterable, List, Optional

from cascade_client.replies import (
    Acknowledgement,
    CacheGeometry,
    Durability,
    FinishReason,
    HeldTokens,
    Scores,
    ServerInfo,
    SessionInfo,
    SessionState,
    TokenLogprob,
    TokenLogprobs,
    Usage,
)
from cascade_client.wire import cascade_pb2 as pb

_FINISH: Dict[int, FinishReason] = {
    pb.FINISH_REASON_STOP: FinishReason.STOP,
    pb.FINISH_REASON_STOP_SEQUENCE: FinishReason.STOP_SEQUENCE,
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_CANCELLED: FinishReason.CANCELLED,
    pb.FINISH_REASON_DEADLINE: FinishReason.DEADLINE,
    pb.FINISH_REASON_ERROR: FinishReason.ERROR,
}
_DURABILITY: Dict[int, Durability] = {
    pb.DURABILITY_NONE: Durability.NONE,
    pb.DURABILITY_JOURNAL: Durability.JOURNAL,
    pb.DURABILITY_IMAGE: Durability.IMAGE,
}
_STATE: Dict[int, SessionState] = {
    pb.SESSION_STATE_RESIDENT: SessionState.RESIDENT,
    pb.SESSION_STATE_BUSY: SessionState.BUSY,
    pb.SESSION_STATE_PARKED_HOST: SessionState.PARKED_HOST,
    pb.SESSION_STATE_PARKED_DISK: SessionState.PARKED_DISK,
}


def finish_reason(value: int) -> Optional[FinishReason]:
    return _FINISH.get(value)


def logprobs(values: Iterable[pb.TokenLogprobs]) -> List[TokenLogprobs]:
    return [
        TokenLogprobs(each.token_id, each.logprob, [TokenLogprob(top.token_id, top.logprob) for top in each.top])
        for each in values
    ]


def usage(message: pb.Usage) -> Usage:
    def seconds(value: Any) -> float:
        return float(value.seconds + value.nanos / 1e9)

    return Usage(
        message.prompt_tokens,
        message.completion_tokens,
        message.cached_tokens,
        message.position,
        message.tokens_resident,
        message.tokens_evicted,
        message.cache_bytes,
        seconds(message.queue_time),
        seconds(message.prefill_time),
        seconds(message.decode_time),
    )


def acknowledgement(message: pb.Acknowledgement) -> Acknowledgement:
    return Acknowledgement(message.turn, message.digest, _DURABILITY.get(message.durability))


def geometry(message: pb.CacheGeometry) -> CacheGeometry:
    return CacheGeometry(
        message.num_sinks,
        list(message.sub_cache_tokens),
        message.stride,
        message.selection_group,
        message.selection,
        message.ema_decay,
        message.score_reduction,
    )


def session_info(message: pb.Session) -> SessionInfo:
    def time(name: str) -> datetime.datetime:
        value = getattr(message, name)
        return datetime.datetime.fromtimestamp(value.seconds + value.nanos / 1e9, datetime.timezone.utc)

    return SessionInfo(
        session_id=message.session_id,
        label=message.label,
        state=_STATE.get(message.state),
        position=message.position,
        tokens_resident=message.tokens_resident,
        tokens_evicted=message.tokens_evicted,
        turns=message.turns,
        created=time("created"),
        last_used=time("last_used"),
        expires=time("expires") if message.HasField("expires") else None,
        cache_bytes=message.cache_bytes,
        journal_bytes=message.journal_bytes,
        digest=message.digest,
        durability=_DURABILITY.get(message.durability),
        last_finish_reason=finish_reason(message.last_finish_reason),
        geometry=geometry(message.geometry),
    )


def held_tokens(message: pb.InspectSessionResponse) -> HeldTokens:
    return HeldTokens(
        message.layer,
        message.kv_head,
        message.position,
        list(message.token_indices),
        list(message.sub_caches),
        list(message.scores),
        list(message.distinctness),
    )


def server_info(message: pb.ServerInfo) -> ServerInfo:
    values = {field.name: getattr(message, field.name) for field in dataclasses.fields(ServerInfo)}
    values["geometry"] = geometry(message.geometry)
    values["default_durability"] = _DURABILITY.get(message.default_durability)
    return ServerInfo(**values)


def scores(messages: Iterable[pb.ScoreResponse]) -> Scores:
    building = ScoresBuilder()
    for message in messages:
        building.add(message)
    return building.scores()


async def async_scores(messages: AsyncIterable[pb.ScoreResponse]) -> Scores:
    building = ScoresBuilder()
    async for message in messages:
        building.add(message)
    return building.scores()


class ScoresBuilder:
    """Puts a Score call's messages together."""

    def __init__(self) -> None:
        self._parts = Scores([], [], [], [])

    def add(self, message: pb.ScoreResponse) -> None:
        self._parts.token_ids.extend(message.token_ids)
        self._parts.logprobs.extend(message.logprobs)
        self._parts.top_ids.extend(message.top_ids)
        self._parts.top_margins.extend(message.top_margins)
        if message.HasField("usage"):
            self._parts = dataclasses.replace(self._parts, usage=usage(message.usage))
        if message.HasField("acknowledgement"):
            self._parts = dataclasses.replace(self._parts, acknowledgement=acknowledgement(message.acknowledgement))

    def scores(self) -> Scores:
        return self._parts

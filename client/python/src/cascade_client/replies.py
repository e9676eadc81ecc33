"""What the server answers, as plain values."""

from __future__ import annotations

import dataclasses
import datetime
import math
from enum import Enum
from typing import List, Optional


class FinishReason(str, Enum):
    """Why a reply ended."""

    STOP = "stop"  # the model ended it, or one of stop_token_ids
    STOP_SEQUENCE = "stop_sequence"  # one of the strings of `stop`
    LENGTH = "length"  # max_tokens
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


class Durability(str, Enum):
    """How much of a session outlives the server's process."""

    NONE = "none"
    JOURNAL = "journal"  # its tokens
    IMAGE = "image"  # its cache as well


class OnCancel(str, Enum):
    """What becomes of a session's turn whose caller has gone."""

    KEEP = "keep"  # it ends; what was sampled until then belongs to the session
    ROLLBACK = "rollback"  # it ends; the session is what it was before
    CONTINUE = "continue"  # it goes on without its caller


class SessionState(str, Enum):
    RESIDENT = "resident"  # in a cache slot
    BUSY = "busy"  # with a turn, or another call that needs its cache
    PARKED_HOST = "parked_host"
    PARKED_DISK = "parked_disk"


class ParkTarget(str, Enum):
    HOST = "host"
    DISK = "disk"


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
    token_id: int
    logprob: float


@dataclasses.dataclass(frozen=True)
class TokenLogprobs:
    token_id: int
    logprob: float
    top: List[TokenLogprob]  # the most probable ones, best first


@dataclasses.dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of prompt_tokens, those that were not read again
    position: int  # tokens of the session's whole life
    tokens_resident: int  # held now
    tokens_evicted: int
    cache_bytes: int
    queue_seconds: float  # from the call's arrival to its first step
    prefill_seconds: float  # from there to the first token of the reply
    decode_seconds: float  # from there to the last


@dataclasses.dataclass(frozen=True)
class Acknowledgement:
    """The end of a session's turn: what holds from now on."""

    turn: int  # a session's first is 1
    digest: int  # of all tokens of the session so far; see SessionInfo.digest
    durability: Optional[Durability]  # what the turn has reached


@dataclasses.dataclass(frozen=True)
class Delta:
    """A piece of a reply."""

    text: str  # may be empty while a character or a possible stop string is incomplete
    token_ids: List[int]
    seq: int  # tokens of the reply so far
    index: int = 0  # which of n replies
    logprobs: List[TokenLogprobs] = dataclasses.field(default_factory=list)
    prompt_logprobs: List[TokenLogprobs] = dataclasses.field(default_factory=list)
    finish_reason: Optional[FinishReason] = None  # of the last piece


@dataclasses.dataclass(frozen=True)
class Reply:
    """A whole reply, or what has come of one that was left."""

    text: str
    token_ids: List[int]
    finish_reason: Optional[FinishReason]  # None: it was left before its end
    stop_sequence: str = ""  # which of `stop` ended it
    stop_token_id: Optional[int] = None
    usage: Optional[Usage] = None  # unless it was left
    acknowledgement: Optional[Acknowledgement] = None  # of a session's turn that counts
    logprobs: List[TokenLogprobs] = dataclasses.field(default_factory=list)
    prompt_logprobs: List[TokenLogprobs] = dataclasses.field(default_factory=list)
    index: int = 0

    def __str__(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True)
class Scores:
    """Log-likelihood of a text, token by token: parallel lists. A new session's first token has none."""

    token_ids: List[int]
    logprobs: List[float]
    top_ids: List[int]  # the most probable token in its place
    top_margins: List[float]  # how far its logit is above the second best
    usage: Optional[Usage] = None
    acknowledgement: Optional[Acknowledgement] = None

    @property
    def total(self) -> float:
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        return math.exp(-self.total / len(self.logprobs)) if self.logprobs else math.nan


@dataclasses.dataclass(frozen=True)
class CacheGeometry:
    num_sinks: int
    sub_cache_tokens: List[int]  # newest first
    stride: int
    selection_group: int
    selection: str
    ema_decay: float
    score_reduction: str


@dataclasses.dataclass(frozen=True)
class SessionInfo:
    session_id: str
    label: str
    state: Optional[SessionState]
    position: int  # tokens of the session's whole life
    tokens_resident: int
    tokens_evicted: int
    turns: int
    created: datetime.datetime
    last_used: datetime.datetime
    expires: Optional[datetime.datetime]
    cache_bytes: int
    journal_bytes: int
    digest: int  # stands for all tokens so far; equal for equal tokens
    durability: Optional[Durability]
    last_finish_reason: Optional[FinishReason]
    geometry: CacheGeometry


@dataclasses.dataclass(frozen=True)
class HeldTokens:
    """What one layer's KV head still holds: parallel lists, oldest first."""

    layer: int
    kv_head: int
    position: int  # tokens of the session's whole life
    token_indices: List[int]
    sub_caches: List[int]  # -1 sinks, 0 the newest, .., N the open stride
    scores: List[float]
    distinctness: List[float]


@dataclasses.dataclass(frozen=True)
class Template:
    """Messages as the model's chat template writes them."""

    text: str
    token_ids: List[int]


@dataclasses.dataclass(frozen=True)
class ServerInfo:
    version: str
    model: str
    architecture: str
    parameters: int
    vocabulary_size: int
    num_layers: int
    num_kv_heads: int
    max_position_embeddings: int
    device: str
    dtype: str
    kv_cache_dtype: str
    geometry: CacheGeometry
    session_bytes: int
    model_bytes: int
    max_num_sessions: int
    sessions_free: int
    max_num_seqs: int
    max_num_batched_tokens: int
    default_max_tokens: int
    max_prompt_bytes: int
    has_chat_template: bool
    sessions_take_messages: bool
    has_data_dir: bool
    default_durability: Optional[Durability]
    image_bytes: int
    rewind_turns: int

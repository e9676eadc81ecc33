"""Replies put together from what comes, in pieces and perhaps twice."""

from __future__ import annotations

import dataclasses
from typing import List, Optional

from cascade_client import conversions
from cascade_client.errors import DataLoss
from cascade_client.replies import Delta, Reply, TokenLogprobs
from cascade_client.wire import cascade_pb2 as pb


class ReplyBuilder:
    """Puts one reply together. What comes again after a break, and is known already, is left out."""

    def __init__(self, index: int = 0, offset: int = 0) -> None:
        """`offset`: tokens of the reply that are somebody else's to know."""
        self._index = index
        self._offset = offset
        self._text: List[str] = []
        self._text_size = 0
        self._ids: List[int] = []
        self._logprobs: List[TokenLogprobs] = []
        self._prompt_logprobs: List[TokenLogprobs] = []
        self.seq = offset
        self._text_at_seq = 0  # text that belongs to the first `seq` tokens: what ResumeTurn(seq) leaves out
        self._next_text = 0  # where the next message's text and ids begin
        self._next_id = 0
        self.last: Optional[pb.GenerateResponse] = None
        self._kept: Optional[Reply] = None

    def from_seq(self) -> None:
        """The next message is the first that ResumeTurn(seq) sends."""
        self._next_text, self._next_id = self._text_at_seq, self.seq - self._offset

    def from_start(self) -> None:
        """The next message is the first of the same turn, run again."""
        self._next_text = self._next_id = 0
        self.last = None

    def add(self, response: pb.GenerateResponse) -> Optional[Delta]:
        known_ids = min(len(self._ids) - self._next_id, len(response.token_ids))
        text = response.text
        known_text = min(self._text_size - self._next_text, len(text))
        if known_ids > 0 or known_text > 0:
            self._check_known(list(response.token_ids[:known_ids]), text[:known_text])
        self._next_id += len(response.token_ids)
        self._next_text += len(text)
        text = text[max(known_text, 0) :]
        ids = list(response.token_ids[max(known_ids, 0) :])
        logprobs = conversions.logprobs(response.logprobs[max(known_ids, 0) :])
        prompt_logprobs = [] if self._ids else conversions.logprobs(response.prompt_logprobs)
        if text:
            self._text.append(text)
            self._text_size += len(text)
        self._ids += ids
        self._logprobs += logprobs
        self._prompt_logprobs += prompt_logprobs
        if response.seq > self.seq:
            self.seq, self._text_at_seq = response.seq, self._text_size
        finish = conversions.finish_reason(response.finish_reason)
        if response.finish_reason != pb.FINISH_REASON_UNSPECIFIED:
            self.last = response
        if not (text or ids or prompt_logprobs or self.last):
            return None
        return Delta(text, ids, self.seq, self._index, logprobs, prompt_logprobs, finish)

    def keep(self, text_size: int, tokens: int) -> None:
        """The session has only so much of it, after an interrupt."""
        whole = self.reply()
        self._kept = dataclasses.replace(
            whole, text=whole.text[:text_size], token_ids=whole.token_ids[:tokens], logprobs=whole.logprobs[:tokens]
        )

    def reply(self) -> Reply:
        if self._kept is not None:
            return self._kept
        last = self.last
        return Reply(
            text="".join(self._text),
            token_ids=list(self._ids),
            index=self._index,
            logprobs=list(self._logprobs),
            prompt_logprobs=list(self._prompt_logprobs),
            finish_reason=None if last is None else conversions.finish_reason(last.finish_reason),
            stop_sequence="" if last is None else last.stop_sequence,
            stop_token_id=last.stop_token_id if last is not None and last.HasField("stop_token_id") else None,
            usage=conversions.usage(last.usage) if last is not None and last.HasField("usage") else None,
            acknowledgement=(
                conversions.acknowledgement(last.acknowledgement)
                if last is not None and last.HasField("acknowledgement")
                else None
            ),
        )

    def _check_known(self, ids: List[int], text: str) -> None:
        whole = "".join(self._text)
        if (
            self._ids[self._next_id : self._next_id + len(ids)] != ids
            or whole[self._next_text : self._next_text + len(text)] != text
        ):
            raise DataLoss(
                "the turn was lost with its server, and run again it says something else; "
                "the session has what it says now"
            )

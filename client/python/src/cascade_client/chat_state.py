"""What a reply of a chat stream knows of itself besides its text; shared by both clients."""

from __future__ import annotations

from typing import List, Optional, Tuple

from cascade_client.errors import CascadeError, InvalidArgument, from_code
from cascade_client.replies import Delta, FinishReason
from cascade_client.turn import Turn
from cascade_client.wire import cascade_pb2 as pb


class ChatState:
    """Which part of a reply has reached its reader, and whether it was interrupted there."""

    def __init__(self, turn: Turn, auto_ack: bool) -> None:
        self._turn = turn
        self.auto_ack = auto_ack
        self.interrupted = False
        self._marks: List[Tuple[int, int]] = [(0, 0)]  # tokens, characters of text, after every piece
        self._acked = 0

    def request(self, follows: bool) -> pb.GenerateRequest:
        """The turn as a chat stream takes it: the session is the stream's. `follows`: another one is on its way."""
        request = pb.GenerateRequest()
        request.CopyFrom(self._turn.started_elsewhere(follows))
        request.ClearField("session_id")
        return request

    def on_response(self, response: pb.GenerateResponse) -> Optional[Delta]:
        """What to hand on."""
        delta = self._turn.on_response(response)
        if self.interrupted:
            return None
        if delta is not None:
            self._marks.append((delta.seq, self._marks[-1][1] + len(delta.text)))
        return delta

    def on_last(self) -> None:
        """The turn's last message has come."""
        self._turn.on_end()
        reply = self._turn.reply()
        if not self.interrupted or reply.finish_reason != FinishReason.CANCELLED:
            return  # the interrupt may have come too late: then the session has all of it
        text = max((size for seq, size in self._marks if seq <= self._acked), default=0)
        self._turn.builder().keep(text, self._acked)

    def on_turn_error(self, error: pb.ChatTurnError) -> CascadeError:
        converted = from_code(error.code, error.message)
        converted.reply = self._turn.reply()
        return converted

    def ack_of_read(self) -> Optional[pb.ChatRequest]:
        """Everything that was handed on; None: nothing new."""
        return self._ack(self._marks[-1][0]) if self.auto_ack else None

    def ack(self, seq: Optional[int]) -> Optional[pb.ChatRequest]:
        delivered = self._marks[-1][0]
        if seq is None:
            seq = delivered
        if not isinstance(seq, int) or not self._acked <= seq <= delivered:
            raise InvalidArgument(
                f"seq must be in [{self._acked}, {delivered}]: what was acknowledged before, and the tokens "
                f"of the pieces so far; got {seq!r}",
                field="seq",
            )
        return self._ack(seq)

    def interrupt(self) -> pb.ChatRequest:
        self.interrupted = True
        return pb.ChatRequest(interrupt=pb.ChatInterrupt())

    def _ack(self, seq: int) -> Optional[pb.ChatRequest]:
        if seq <= self._acked or self.interrupted:
            return None
        self._acked = seq
        return pb.ChatRequest(ack=seq)

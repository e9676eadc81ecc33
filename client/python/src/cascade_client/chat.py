"""Turns of a session over one stream that can be interrupted."""

from __future__ import annotations

import collections
import queue
import threading
from typing import TYPE_CHECKING, Any, Deque, Dict, Generator, Iterable, Optional, Type

import grpc

from cascade_client import errors, requests
from cascade_client.calls import Calls
from cascade_client.chat_state import ChatState
from cascade_client.errors import CascadeError
from cascade_client.options import Message
from cascade_client.place import Place
from cascade_client.replies import Delta, OnCancel
from cascade_client.stream import Stream
from cascade_client.turn import Call, Turn
from cascade_client.wire import cascade_pb2 as pb

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cascade_client.options import TurnOptions


class _Line:
    """One gRPC stream. Whoever wants a reply's next message reads, and puts by what belongs to others."""

    def __init__(self, calls: Calls, place: Place) -> None:
        self._out: queue.SimpleQueue[Optional[pb.ChatRequest]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._boxes: Dict[int, Deque[pb.ChatResponse]] = {}
        self._turns = 0
        self._end: Optional[CascadeError] = None
        opening = pb.ChatOpen(session_id=place.session_id)
        requests.set_position(opening, place)
        self.write(pb.ChatRequest(open=opening))
        # No deadline: it is open as long as the conversation.
        self._call = calls.open("Chat", iter(self._out.get, None), place.session_id, calls.no_deadline())

    @property
    def broken(self) -> bool:
        return self._end is not None

    @property
    def has_turns(self) -> bool:
        """That have not ended."""
        return bool(self._boxes)

    def write(self, request: Optional[pb.ChatRequest]) -> None:
        self._out.put(request)

    def send(self, request: pb.GenerateRequest) -> int:
        self._turns += 1
        self._boxes[self._turns] = collections.deque()
        self.write(pb.ChatRequest(turn=request))
        return self._turns

    def next(self, turn: int) -> pb.ChatResponse:
        """Raises what ended the stream."""
        box = self._boxes[turn]
        with self._lock:
            while not box:
                if self._end is not None:
                    raise self._end
                try:
                    response = next(self._call)
                except StopIteration:
                    self._break(errors.Unavailable("the server ended the chat stream before its turns"))
                except grpc.RpcError as error:
                    self._break(errors.from_grpc(error))
                else:
                    # 0: `opened`, and answers to keep_alive.
                    self._boxes.get(response.turn, collections.deque()).append(response)
            return box.popleft()

    def _break(self, error: CascadeError) -> None:
        self._end = error
        self.write(None)  # gRPC's thread waits for the next message

    def done(self, turn: int) -> None:
        self._boxes.pop(turn, None)

    def close(self) -> None:
        """Turns that were sent and not read are left; there are none as a rule."""
        self.write(None)
        if self._boxes:
            self._call.cancel()
        try:
            for _ in self._call:  # or what was sent last might not arrive
                pass
        except grpc.RpcError:
            pass  # nobody waits for anything of it


class ChatReply(Stream):
    """A reply that can be interrupted, also by another thread:

        with chat.send("Tell me a story") as reply:
            for delta in reply:
                print(delta.text, end="", flush=True)
                if someone_speaks():
                    reply.interrupt()

    The session then has what was read and nothing more; `result` is that part. Leaving the reply early interrupts it.
    """

    def __init__(self, calls: Calls, turn: Turn, line: _Line, auto_ack: bool) -> None:
        super().__init__(calls, turn)
        self._state = ChatState(turn, auto_ack)
        self._line = line
        self._number = line.send(self._state.request(line.has_turns))

    def __next__(self) -> Delta:
        self._write(self._state.ack_of_read())
        return super().__next__()

    def ack(self, seq: Optional[int] = None) -> None:
        """Tells the server that the first `seq` tokens have reached whoever reads; default: all pieces so far.

        Needed with auto_ack=False only: otherwise asking for the next piece acknowledges those before.
        """
        self._write(self._state.ack(seq))

    def interrupt(self) -> None:
        """Ends the reply now; the iteration ends with it. Turns that wait on this chat are dropped.

        After the stream has broken the server cannot be told: only the iteration ends, and the session has all of it.
        """
        if self._done or self._state.interrupted:
            return
        if self._line.broken:
            self._leave()
            return
        self._write(self._state.ack_of_read())
        self._write(self._state.interrupt())

    def close(self) -> None:
        """Interrupts the reply if it still runs, and waits for its end."""
        if self._done:
            return
        if self._line.broken or self._call is not None:
            super().close()  # it has gone on by other calls
            return
        self.interrupt()
        try:
            for _ in self:
                pass
        except CascadeError:
            pass  # whoever wants to know reads to the end

    def _write(self, request: Optional[pb.ChatRequest]) -> None:
        if request is not None and not self._line.broken:
            self._line.write(request)

    def _first_call(self) -> Generator[Delta, None, Optional[Call]]:
        try:
            while True:
                try:
                    response = self._line.next(self._number)
                except CascadeError as error:
                    if self._state.interrupted:
                        self._turn.fail(error)
                    return self._turn.on_error(error)
                if response.HasField("error"):
                    raise self._state.on_turn_error(response.error)
                delta = self._state.on_response(response.delta)
                if self._turn.ended:
                    self._state.on_last()
                if delta is not None:
                    yield delta
                if self._turn.ended:
                    return None
        finally:
            self._line.done(self._number)


class Chat:
    """Many turns over one stream; a broken one is replaced with the next turn.

    with session.chat() as chat:
        print(chat.send("Hello").read())
    """

    def __init__(self, calls: Calls, place: Place, auto_ack: bool) -> None:
        self._calls = calls
        self._place = place
        self._auto_ack = auto_ack
        self._line: Optional[_Line] = None
        self._closed = False

    def __enter__(self) -> Chat:
        self._calls.settle(self._place, self._calls.no_deadline(), ask=True)
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        self.close()

    def send(
        self,
        text: Optional[str] = None,
        *,
        messages: Optional[Iterable[Message]] = None,
        prompt: Optional[str] = None,
        token_ids: Optional[Iterable[int]] = None,
        **sampling: Unpack[TurnOptions],
    ) -> ChatReply:
        """A turn, as Session.send takes it. It goes out at once; while another one runs it waits."""
        request = requests.session_turn(text, messages, prompt, token_ids, sampling, OnCancel.CONTINUE)
        line = self._open()
        return ChatReply(self._calls, Turn(request, self._calls.no_deadline(), self._place), line, self._auto_ack)

    def keep_alive(self) -> None:
        """For proxies that end silent streams."""
        self._open().write(pb.ChatRequest(keep_alive=pb.ChatKeepAlive()))

    def close(self) -> None:
        """Ends the stream. What becomes of a turn that still runs, its on_cancel says."""
        self._closed = True
        if self._line is not None:
            self._line.close()
            self._line = None

    def _open(self) -> _Line:
        if self._closed:
            raise RuntimeError("the chat is closed")
        if self._line is None or self._line.broken:
            self._line = _Line(self._calls, self._place)
        return self._line

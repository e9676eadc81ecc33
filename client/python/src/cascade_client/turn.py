"""One turn or one-shot reply, without any input or output of its own: what is asked next, and what has come.

The drivers (stream.py, async_stream.py) make the calls that it names and hand in what comes. So both clients follow the
same rules when a connection breaks:

- A one-shot is asked for again only while nothing of it has come.
- A session's turn has a name (turn_id) and the position that it begins at, so it is never run twice. While nothing of
  it has come, it is sent again. After that the session is asked: where the turn runs or has ended, ResumeTurn has the
  rest; where it never counted, it is run again, and what the caller already has is left out.
- A turn whose position nobody knows is resumed, and not sent again.
"""

from __future__ import annotations

import dataclasses
import secrets
import uuid
from typing import Any, Dict, List, NoReturn, Optional

from cascade_client.errors import (
    Busy,
    Cancelled,
    CascadeError,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from cascade_client.place import Leaving, Place
from cascade_client.replies import Delta, FinishReason, Reply
from cascade_client.reply_builder import ReplyBuilder
from cascade_client.retries import Retries, was_refused
from cascade_client.wire import cascade_pb2 as pb

# With which a turn does not begin. Not FailedPrecondition: where the session is then has to be asked.
_REFUSALS = (Busy, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated)


@dataclasses.dataclass
class Call:
    """What to call, after how many seconds. GetSession's answer goes to on_session, the streams' to on_response."""

    method: str  # "Generate", "ResumeTurn", "GetSession"
    request: Any
    delay: float = 0.0


class Turn:
    """See the top of the file. Used by one driver, in one thread at a time."""

    def __init__(
        self, request: Optional[pb.GenerateRequest], retries: Retries, place: Optional[Place] = None, from_seq: int = 0
    ) -> None:
        """Without a request: the rest of the session's last turn, after `from_seq` tokens."""
        self.place = place
        self.retries = retries
        self._request = request
        self._from_seq = from_seq
        self._phase = ""
        self._received = False
        self._refused = False
        self._broke: Optional[CascadeError] = None
        self._leaving = Leaving()
        self._builders: Dict[int, ReplyBuilder] = {}
        self._count = request.n if request is not None and request.HasField("n") else 1
        if request is not None and place is not None:
            self._name(request, place)

    @staticmethod
    def _name(request: pb.GenerateRequest, place: Place) -> None:
        request.session_id = place.session_id
        if not request.turn_id:
            request.turn_id = uuid.uuid4().hex
        if not request.sampling.HasField("seed"):
            # Should the turn have to be run again, then with the same draws.
            request.sampling.seed = secrets.randbits(63)

    # What is called.

    def start(self) -> Call:
        if self._request is None:
            assert self.place is not None
            self._phase = "resume"
            return self._resume()
        if self.place is None or (self._request.HasField("expected_position") and not self.place.leaving):
            return self._generate()
        if self.place.position is None:
            self._phase = "ask"
            return self._get_session()
        self._expect(self.place.position)
        return self._generate()

    def started_elsewhere(self, follows: bool) -> pb.GenerateRequest:
        """The turn goes out on a chat stream instead; should that break, on_error says what to call.

        `follows`: another one is on its way there, so that nobody knows yet where this one begins.
        """
        assert self._request is not None and self.place is not None
        if not follows and self.place.position is not None:
            self._expect(self.place.position)
        self._generate()
        return self._request

    def on_session(self, info: pb.Session) -> Call:
        assert self.place is not None
        busy = info.state == pb.SESSION_STATE_BUSY
        if self._phase == "ask":
            assert self._request is not None
            wait = self._leaving.delay() if busy and self.place.leaving else None
            if wait is not None:
                return self._get_session(wait)
            if not busy:
                self.place.settle(info)
                self._expect(info.position)
            return self._generate()
        # After a break.
        if (
            not busy
            and self._request is not None
            and self._is_guarded()
            and info.position == self._request.expected_position
        ):
            return self._run_again()
        self._phase = "resume"
        self._builder(0).from_seq()
        return self._resume()

    # What comes.

    def on_response(self, response: pb.GenerateResponse) -> Optional[Delta]:
        self._received = True
        if self._broke is not None and (response.text or response.token_ids):
            self.retries.progress()
        return self._builder(response.index).add(response)

    def on_end(self) -> None:
        """The stream ended well."""
        if not self.ended:
            raise InternalError("the server ended the stream without a last message")
        self._settle()

    def on_error(self, error: CascadeError) -> Call:
        """What to call next. Raises when nothing can be done."""
        if self.ended:
            self._settle()
            if not isinstance(error, Cancelled) or self._broke is None:
                self.fail(error)
            if self._is_guarded() and self.reply().acknowledgement is None:
                return self._run_again()  # it was rolled back
            broke = Unavailable(
                "the connection broke, and the server ended the turn, as on_cancel says; with "
                "on_cancel='continue' it would have gone on",
                grpc_error=self._broke.grpc_error,
            )
            broke.__cause__ = self._broke
            self.fail(broke)
        try:
            return self._again(error)
        except CascadeError as final:
            self.fail(final)

    def fail(self, error: CascadeError) -> NoReturn:
        self._refused = not self._received and self._broke is None and isinstance(error, _REFUSALS)
        error.reply = self.reply()
        raise error

    def _again(self, error: CascadeError) -> Call:
        if self._phase in ("ask", "check"):
            if not isinstance(error, Unavailable) and not was_refused(error):
                raise error
            return self._get_session(self.retries.delay(error))
        if was_refused(error) and self._phase == "generate":
            assert self._request is not None
            return Call("Generate", self._request, self.retries.delay(error))
        if not isinstance(error, Unavailable):
            raise error
        if self.place is None:
            if self._received:
                raise error
            return Call("Generate", self._request, self.retries.delay(error))
        if self._phase == "generate" and not self._received and not self._is_guarded():
            raise error
        self._broke = error
        delay = self.retries.delay(error)
        if self._phase == "generate" and not self._received:
            return Call("Generate", self._request, delay)
        self._phase = "check"
        return self._get_session(delay)

    # The end.

    @property
    def ended(self) -> bool:
        return len(self._builders) >= self._count and all(b.last is not None for b in self._builders.values())

    def leave(self) -> None:
        """The caller goes, at the end or before: what is known of the session then."""
        if self.place is None or self.ended or self._phase == "ask":
            return
        if self._refused:
            return  # the session is what it was
        self.place.position, self.place.leaving = None, True

    def reply(self) -> Reply:
        return self._builder(0).reply()

    def replies(self) -> List[Reply]:
        return [self._builder(index).reply() for index in range(self._count)]

    def builder(self) -> ReplyBuilder:
        return self._builder(0)

    def _settle(self) -> None:
        if self.place is None:
            return
        reply = self.reply()
        counts = reply.acknowledgement is not None and reply.usage is not None
        self.place.position = reply.usage.position if counts and reply.usage is not None else None
        self.place.leaving = reply.finish_reason in (FinishReason.CANCELLED, FinishReason.DEADLINE, None)

    def _builder(self, index: int) -> ReplyBuilder:
        if index not in self._builders:
            self._builders[index] = ReplyBuilder(index, self._from_seq)
        return self._builders[index]

    def _expect(self, position: int) -> None:
        """What the caller said goes first."""
        assert self._request is not None
        if not self._request.HasField("expected_position"):
            self._request.expected_position = position

    def _is_guarded(self) -> bool:
        """By its position: it cannot be run twice."""
        return self._request is not None and self._request.HasField("expected_position")

    def _generate(self) -> Call:
        self._phase = "generate"
        return Call("Generate", self._request)

    def _run_again(self) -> Call:
        """It never counted. Under another name, as the old one's answer is how it was cut; its position guards it."""
        assert self._request is not None
        self._request.turn_id = uuid.uuid4().hex
        self._broke = None
        for builder in self._builders.values():
            builder.from_start()
        return self._generate()

    def _resume(self) -> Call:
        assert self.place is not None
        return Call("ResumeTurn", pb.ResumeTurnRequest(session_id=self.place.session_id, from_seq=self._builder(0).seq))

    def _get_session(self, delay: float = 0.0) -> Call:
        assert self.place is not None
        return Call("GetSession", pb.GetSessionRequest(session_id=self.place.session_id), delay)

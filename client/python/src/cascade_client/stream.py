"""Replies as they are made."""

from __future__ import annotations

import threading
from typing import Any, Generator, Iterator, List, Optional, Type, TypeVar

import grpc

from cascade_client import errors
from cascade_client.calls import Calls
from cascade_client.errors import CascadeError
from cascade_client.replies import Delta, Reply
from cascade_client.turn import Call, Turn

_Self = TypeVar("_Self", bound="Stream")


class Stream(Iterator[Delta]):
    """Iterates over the pieces of a reply. Leaving it early cancels the call:

        with client.stream("Once upon a time") as stream:
            for delta in stream:
                print(delta.text, end="", flush=True)
        print(stream.result.finish_reason)

    One thread iterates; close() may be called by any.
    """

    def __init__(self, calls: Calls, turn: Turn) -> None:
        self._calls = calls
        self._turn = turn
        self._call: Any = None
        self._closed = threading.Event()
        self._done = False
        self._deltas = self._run()

    def __iter__(self: _Self) -> _Self:
        return self

    def __next__(self) -> Delta:
        return next(self._deltas)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        self.close()

    @property
    def result(self) -> Reply:
        """The whole reply, once the iteration has ended; of one that was closed, what had come until then."""
        self._check_ended()
        return self._turn.reply()

    @property
    def results(self) -> List[Reply]:
        """All of them, where n were asked for."""
        self._check_ended()
        return self._turn.replies()

    def read(self) -> Reply:
        """Reads to the end. The whole reply."""
        for _ in self:
            pass
        return self.result

    def close(self) -> None:
        """Ends the call, if it still runs. A session's turn then does what its on_cancel says."""
        self._leave()
        try:
            self._deltas.close()
        except ValueError:
            pass  # another thread is inside it, and finds the call cancelled

    def _leave(self) -> None:
        """The iteration ends, wherever it is."""
        self._closed.set()
        call = self._call
        if call is not None:
            call.cancel()

    def _check_ended(self) -> None:
        if not self._done and not self._closed.is_set():
            raise RuntimeError("the reply has not ended: iterate to the end, or read() it")

    def _run(self) -> Generator[Delta, None, None]:
        try:
            call = yield from self._first_call()
            while call is not None:
                if self._closed.wait(call.delay) if call.delay else self._closed.is_set():
                    return
                call = yield from self._one_call(call)
        finally:
            self._turn.leave()
            self._done = True
            if self._call is not None:
                self._call.cancel()

    def _first_call(self) -> Generator[Delta, None, Optional[Call]]:
        yield from ()
        return self._turn.start()

    def _one_call(self, call: Call) -> Generator[Delta, None, Optional[Call]]:
        try:
            if call.method == "GetSession":
                info = self._calls.once("GetSession", call.request, call.request.session_id, self._turn.retries)
                return self._turn.on_session(info)
            session_id = self._turn.place.session_id if self._turn.place is not None else ""
            self._call = self._calls.open(call.method, call.request, session_id, self._turn.retries)
            if self._closed.is_set():  # just before it could be cancelled
                return None
            for response in self._call:
                delta = self._turn.on_response(response)
                if delta is not None:
                    yield delta
                if self._closed.is_set():
                    return None
            self._turn.on_end()
            return None
        except CascadeError as error:  # the server does not keep to the rules
            self._turn.fail(error)
        except grpc.RpcError as error:
            if self._closed.is_set():
                return None
            return self._turn.on_error(errors.from_grpc(error))

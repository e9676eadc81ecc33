"""Replies as they are made, for asyncio."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncGenerator, AsyncIterator, List, Optional, Type, TypeVar

import grpc

from cascade_client import errors
from cascade_client.async_calls import AsyncCalls
from cascade_client.errors import CascadeError
from cascade_client.replies import Delta, Reply
from cascade_client.turn import Call, Turn

_Self = TypeVar("_Self", bound="AsyncStream")


class AsyncStream(AsyncIterator[Delta]):
    """Iterates over the pieces of a reply. Leaving it early cancels the call:

    async with client.stream("Once upon a time") as stream:
        async for delta in stream:
            print(delta.text, end="", flush=True)
    print(stream.result.finish_reason)
    """

    def __init__(self, calls: AsyncCalls, turn: Turn) -> None:
        self._calls = calls
        self._turn = turn
        self._call: Any = None
        self._next_call: Optional[Call] = None
        self._closed = asyncio.Event()
        self._done = False
        self._deltas = self._run()

    def __aiter__(self: _Self) -> _Self:
        return self

    async def __anext__(self) -> Delta:
        return await self._deltas.__anext__()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        await self.close()

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

    async def read(self) -> Reply:
        """Reads to the end. The whole reply."""
        async for _ in self:
            pass
        return self.result

    async def close(self) -> None:
        """Ends the call, if it still runs. A session's turn then does what its on_cancel says."""
        self._leave()
        try:
            await self._deltas.aclose()
        except RuntimeError:
            pass  # another task is inside it, and finds the call cancelled

    def _leave(self) -> None:
        """The iteration ends, wherever it is."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def _check_ended(self) -> None:
        if not self._done and not self._closed.is_set():
            raise RuntimeError("the reply has not ended: iterate to the end, or read() it")

    async def _run(self) -> AsyncGenerator[Delta, None]:
        try:
            async for delta in self._first_call():
                yield delta
            while self._next_call is not None:
                call, self._next_call = self._next_call, None
                if await self._left_within(call.delay):
                    return
                async for delta in self._one_call(call):
                    yield delta
        finally:
            self._turn.leave()
            self._done = True
            if self._call is not None:
                self._call.cancel()

    async def _left_within(self, seconds: float) -> bool:
        if seconds > 0 and not self._closed.is_set():
            try:
                await asyncio.wait_for(self._closed.wait(), seconds)
            except asyncio.TimeoutError:
                pass
        return self._closed.is_set()

    async def _first_call(self) -> AsyncGenerator[Delta, None]:
        """As _one_call: sets _next_call, or leaves it None at the end."""
        self._next_call = self._turn.start()
        return
        yield  # what makes it a generator

    async def _one_call(self, call: Call) -> AsyncGenerator[Delta, None]:
        try:
            if call.method == "GetSession":
                info = await self._calls.once("GetSession", call.request, call.request.session_id, self._turn.retries)
                self._next_call = self._turn.on_session(info)
                return
            session_id = self._turn.place.session_id if self._turn.place is not None else ""
            self._call = self._calls.open(call.method, call.request, session_id, self._turn.retries)
            async for response in self._call:
                delta = self._turn.on_response(response)
                if delta is not None:
                    yield delta
                if self._closed.is_set():
                    return
            self._turn.on_end()
        except CascadeError as error:  # the server does not keep to the rules
            self._turn.fail(error)
        except grpc.RpcError as error:
            if not self._closed.is_set():
                self._next_call = self._turn.on_error(errors.from_grpc(error))
        except asyncio.CancelledError:
            # close() of another task has cancelled the call; otherwise it is this task that was cancelled.
            if not self._closed.is_set():
                raise

"""Calls of the async client; see calls.py."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Optional

import grpc

from cascade_client import errors
from cascade_client.connection import Connection, Methods
from cascade_client.errors import CascadeError, Unavailable
from cascade_client.place import Leaving, Place
from cascade_client.retries import Deadline, Retries, RetryPolicy, was_refused
from cascade_client.wire import cascade_pb2 as pb


class AsyncCalls:
    def __init__(self, connection: Connection, policy: RetryPolicy, timeout: Optional[float]) -> None:
        self._connection = connection
        self._policy = policy
        self._timeout = timeout
        Deadline(timeout)  # refuses a wrong one now
        self._credentials = connection.credentials()  # files are read now, too
        self._channel: Any = None
        self._methods: Any = None

    @property
    def methods(self) -> Any:
        # A channel belongs to the event loop that runs when it is made; a client may be made before.
        if self._methods is None:
            options = self._connection.channel_options()
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self._connection.address, options)
            else:
                self._channel = grpc.aio.secure_channel(self._connection.address, self._credentials, options)
            self._methods = Methods(self._channel)
        return self._methods

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    def retries(self, timeout: Optional[float]) -> Retries:
        """For one call of the user's; `timeout` overrides the client's."""
        return Retries(self._policy, Deadline(self._timeout if timeout is None else timeout))

    def no_deadline(self) -> Retries:
        return Retries(self._policy, Deadline(None))

    def open(self, method: str, request: Any, session_id: str, retries: Retries) -> Any:
        """A call as gRPC gives it: to be awaited, or iterated over."""
        return getattr(self.methods, method)(
            request, timeout=retries.wire_timeout(), metadata=self._connection.metadata(session_id)
        )

    async def once(self, method: str, request: Any, session_id: str, retries: Retries) -> Any:
        return await self.open(method, request, session_id, retries)

    async def unary(self, method: str, request: Any, session_id: str, retries: Retries, *, reads: bool) -> Any:
        """`reads`: it changes nothing, so that it may be made again whatever became of it."""
        while True:
            try:
                return await self.open(method, request, session_id, retries)
            except grpc.RpcError as error:
                await self._wait(errors.from_grpc(error), retries, reads)

    async def messages(
        self, method: str, request: Any, session_id: str, retries: Retries, *, reads: bool
    ) -> AsyncIterator[Any]:
        """Of a call that streams. It is made again only while nothing of it has come."""
        while True:
            call = self.open(method, request, session_id, retries)
            received = False
            try:
                async for message in call:
                    received = True
                    yield message
                return
            except grpc.RpcError as error:
                await self._wait(errors.from_grpc(error), retries, reads and not received)
            finally:
                call.cancel()  # where the caller left

    async def settle(self, place: Place, retries: Retries, *, ask: bool = False) -> None:
        """Waits until a turn that this handle left has ended, so that the next call does not meet it.

        `ask`: the position shall be known then.
        """
        leaving = Leaving()
        while place.leaving or (ask and place.position is None):
            request = pb.GetSessionRequest(session_id=place.session_id)
            info = await self.unary("GetSession", request, place.session_id, retries, reads=True)
            busy = info.state == pb.SESSION_STATE_BUSY
            wait = leaving.delay() if busy and place.leaving else None
            if wait is None:
                if not busy:
                    place.settle(info)
                return
            await asyncio.sleep(wait)

    @staticmethod
    async def _wait(error: CascadeError, retries: Retries, safe: bool) -> None:
        if not was_refused(error) and not (safe and isinstance(error, Unavailable)):
            raise error
        await asyncio.sleep(retries.delay(error))

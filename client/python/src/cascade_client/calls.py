"""Calls of the sync client: deadline, metadata, and calls that are made again."""

from __future__ import annotations

import time
from typing import Any, Iterator, Optional

import grpc

from cascade_client import errors
from cascade_client.connection import Connection, Methods
from cascade_client.errors import CascadeError, Unavailable
from cascade_client.place import Leaving, Place
from cascade_client.retries import Deadline, Retries, RetryPolicy, was_refused
from cascade_client.wire import cascade_pb2 as pb


class Calls:
    def __init__(self, connection: Connection, policy: RetryPolicy, timeout: Optional[float]) -> None:
        self._connection = connection
        self._policy = policy
        self._timeout = timeout
        Deadline(timeout)  # refuses a wrong one now
        credentials = connection.credentials()
        options = connection.channel_options()
        if credentials is None:
            self._channel = grpc.insecure_channel(connection.address, options)
        else:
            self._channel = grpc.secure_channel(connection.address, credentials, options)
        self.methods = Methods(self._channel)

    def close(self) -> None:
        self._channel.close()

    def retries(self, timeout: Optional[float]) -> Retries:
        """For one call of the user's; `timeout` overrides the client's."""
        return Retries(self._policy, Deadline(self._timeout if timeout is None else timeout))

    def no_deadline(self) -> Retries:
        return Retries(self._policy, Deadline(None))

    def open(self, method: str, request: Any, session_id: str, retries: Retries) -> Any:
        """A call as gRPC gives it: a message, or an iterator."""
        return getattr(self.methods, method)(
            request, timeout=retries.wire_timeout(), metadata=self._connection.metadata(session_id)
        )

    once = open

    def unary(self, method: str, request: Any, session_id: str, retries: Retries, *, reads: bool) -> Any:
        """`reads`: it changes nothing, so that it may be made again whatever became of it."""
        while True:
            try:
                return self.open(method, request, session_id, retries)
            except grpc.RpcError as error:
                self._wait(errors.from_grpc(error), retries, reads)

    def messages(self, method: str, request: Any, session_id: str, retries: Retries, *, reads: bool) -> Iterator[Any]:
        """Of a call that streams. It is made again only while nothing of it has come."""
        while True:
            call = self.open(method, request, session_id, retries)
            received = False
            try:
                for message in call:
                    received = True
                    yield message
                return
            except grpc.RpcError as error:
                self._wait(errors.from_grpc(error), retries, reads and not received)
            finally:
                call.cancel()  # where the caller left

    def settle(self, place: Place, retries: Retries, *, ask: bool = False) -> None:
        """Waits until a turn that this handle left has ended, so that the next call does not meet it.

        `ask`: the position shall be known then.
        """
        leaving = Leaving()
        while place.leaving or (ask and place.position is None):
            request = pb.GetSessionRequest(session_id=place.session_id)
            info = self.unary("GetSession", request, place.session_id, retries, reads=True)
            busy = info.state == pb.SESSION_STATE_BUSY
            wait = leaving.delay() if busy and place.leaving else None
            if wait is None:
                if not busy:
                    place.settle(info)
                return
            time.sleep(wait)

    @staticmethod
    def _wait(error: CascadeError, retries: Retries, safe: bool) -> None:
        if not was_refused(error) and not (safe and isinstance(error, Unavailable)):
            raise error
        time.sleep(retries.delay(error))

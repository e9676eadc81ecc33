"""AsyncClient behind the sync client's shape, so that one test runs over both."""

import asyncio
import inspect
import threading
from typing import Any

import cascade_client


class _Loop:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(60)

    def call(self, function: Any, *args: Any, **named: Any) -> Any:
        """Inside the loop: what asyncio makes belongs to it."""

        async def call() -> Any:
            result = function(*args, **named)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(60)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Facade:
    """Wraps whatever comes from AsyncClient; plain values pass."""

    def __init__(self, loop: _Loop, inner: Any) -> None:
        self._loop, self._inner = loop, inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        return lambda *args, **named: self._wrap(self._loop.call(value, *args, **named))

    def __iter__(self) -> Any:
        iterator = self._inner.__aiter__()
        while True:
            try:
                value = self._loop.run(iterator.__anext__())
            except StopAsyncIteration:
                return
            yield value

    def __enter__(self) -> "Facade":
        self._loop.run(self._inner.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run(self._inner.__aexit__(*error))

    def _wrap(self, value: Any) -> Any:
        ours = (
            cascade_client.AsyncClient,
            cascade_client.AsyncSession,
            cascade_client.AsyncStream,
            cascade_client.AsyncChat,
        )
        return Facade(self._loop, value) if isinstance(value, ours) or hasattr(value, "__anext__") else value


class AsyncFacade(Facade):
    """AsyncClient(..) with a loop of its own."""

    def __init__(self, *args: Any, **named: Any) -> None:
        loop = _Loop()
        try:
            inner = loop.call(cascade_client.AsyncClient, *args, **named)
        except BaseException:
            loop.stop()
            raise
        super().__init__(loop, inner)

    def close(self) -> None:
        try:
            self._loop.call(self._inner.close)
        finally:
            self._loop.stop()

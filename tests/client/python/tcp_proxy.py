"""A network that can be cut: passes bytes on to a server, and breaks every connection when it is told to."""

import socket
import threading
from typing import List, Optional, Tuple


class TcpProxy:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._pairs: List["_Pair"] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        # Bytes from the server after which a connection ends, once for each: in the middle, however quick.
        self.cuts: List[int] = []
        # Bytes from the server after which nothing more comes until cut(): what the client has then is certain.
        self.hold_after: Optional[int] = None
        self.was_cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Connections that are there end; new ones are taken."""
        self.was_cut.set()
        with self._lock:
            self.hold_after = None
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end()

    def close(self) -> None:
        # Wakes accept(), which close() does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def share(self, data: bytes) -> Tuple[bytes, Optional[str]]:
        """Of bytes from the server, those that are passed on, and what happens then: "cut", "hold" or nothing."""
        with self._lock:
            if self.cuts:
                data = data[: self.cuts[0]]
                self.cuts[0] -= len(data)
                if self.cuts[0] == 0:
                    self.cuts.pop(0)
                    return data, "cut"
            elif self.hold_after is not None:
                data = data[: self.hold_after]
                self.hold_after -= len(data)
                if self.hold_after == 0:
                    self.hold_after = None
                    return data, "hold"
        return data, None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()  # the server is away
                continue
            pair = _Pair(self, client, server)
            with self._lock:
                self._pairs.append(pair)
                self.connections += 1
            pair.start()


class _Pair:
    """One connection: a thread for each direction.

    The sockets are closed when both have ended, and not before: a number that is free is given to the next socket,
    which a thread that still holds it would then break.
    """

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._lock = threading.Lock()
        self._running = 2

    def start(self) -> None:
        threading.Thread(target=self._pass_on, args=(self._client, self._server), daemon=True).start()
        threading.Thread(target=self._pass_on, args=(self._server, self._client), daemon=True).start()

    def end(self) -> None:
        with self._lock:
            self._shut_down()

    def _shut_down(self) -> None:
        if self._running == 0:
            return
        for each in (self._client, self._server):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was quicker

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data, then = source.recv(65536), None
                if not data:
                    break
                if source is self._server:
                    data, then = self._proxy.share(data)
                sink.sendall(data)
                if then == "hold":
                    self._proxy.was_cut.wait()
                if then is not None:
                    break
        except OSError:
            pass  # cut
        with self._lock:
            self._shut_down()
            self._running -= 1
            if self._running == 0:
                self._client.close()
                self._server.close()

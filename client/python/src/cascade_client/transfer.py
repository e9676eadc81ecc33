"""Files of sessions: what export writes and import reads."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
from typing import Any, AsyncIterator, BinaryIO, Iterator, Optional, Type, Union

from cascade_client.errors import DataLoss, InvalidArgument
from cascade_client.wire import cascade_pb2 as pb

File = Union[str, "os.PathLike[str]", BinaryIO]

_PIECE_BYTES = 1 << 20


class Source:
    """An export that is being read: a path, or an open binary file from where it stands."""

    def __init__(self, file: File) -> None:
        self._own = isinstance(file, (str, os.PathLike))
        self._file: Any = open(file, "rb") if isinstance(file, (str, os.PathLike)) else file
        if not hasattr(self._file, "read") or isinstance(self._file, io.TextIOBase):
            raise InvalidArgument("file must be a path, or a file that is open for reading bytes", field="file")
        seekable = getattr(self._file, "seekable", None)
        self._start: Optional[int] = self._file.tell() if seekable is not None and seekable() else None
        # gRPC swallows what is raised while it asks for the next message.
        self.failure: Optional[Exception] = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        if self._own:
            self._file.close()

    def again(self) -> bool:
        """Back to where it began; False when that cannot be."""
        if self._start is None:
            return False
        self._file.seek(self._start)
        return True

    def requests(self, options: pb.ImportOptions) -> Iterator[pb.ImportSessionRequest]:
        yield pb.ImportSessionRequest(options=options)
        while True:
            data = self.read()
            if not data:
                return
            yield pb.ImportSessionRequest(data=data)

    async def async_requests(self, options: pb.ImportOptions) -> AsyncIterator[pb.ImportSessionRequest]:
        yield pb.ImportSessionRequest(options=options)
        while True:
            data = await asyncio.to_thread(self.read)
            if not data:
                return
            yield pb.ImportSessionRequest(data=data)

    def read(self) -> bytes:
        try:
            data = self._file.read(_PIECE_BYTES)
            if not isinstance(data, bytes):
                raise InvalidArgument("file must be open for reading bytes, not text", field="file")
            return data
        except Exception as error:
            self.failure = error
            raise


class Target:
    """An export that is being written. Under its path it appears when it is whole, and not before."""

    def __init__(self, file: File) -> None:
        self._path: Optional[str] = None
        self._temporary: Optional[str] = None
        self._written = 0
        self._total: Optional[int] = None
        if isinstance(file, (str, os.PathLike)):
            self._path = os.fspath(file)
            handle, self._temporary = tempfile.mkstemp(prefix=".cascade-", dir=os.path.dirname(self._path) or ".")
            self._file: Any = os.fdopen(handle, "wb")
        elif hasattr(file, "write") and not isinstance(file, io.TextIOBase):
            self._file = file
        else:
            raise InvalidArgument("file must be a path, or a file that is open for writing bytes", field="file")

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Any) -> None:
        if self._temporary is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)

    def write(self, piece: pb.ExportSessionResponse) -> None:
        self._total = piece.total_bytes
        self._file.write(piece.data)
        self._written += len(piece.data)

    def finish(self) -> int:
        """Bytes that were written."""
        if self._written != self._total:
            raise DataLoss(f"the export ended after {self._written} of {self._total} bytes")
        self._file.flush()
        if self._temporary is not None and self._path is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self._path)
            self._temporary = None
        return self._written

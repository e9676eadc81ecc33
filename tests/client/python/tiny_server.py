"""cascade-server over the tiny random model, as a child process."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
from typing import List, Optional


class TinyServer:
    """Serves when the constructor returns.

    stop() and kill() leave the data folder; start() serves from it again, at the same address.
    """

    def __init__(self, *flags: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cascade-python-test-")
        folder = pathlib.Path(self._folder.name)
        self._model = folder / "tiny.gguf"
        subprocess.run([os.environ["CASCADE_TINY_MODEL_PROGRAM"], str(self._model)], check=True)
        self._data = folder / "data"
        self._flags = flags
        self._process: Optional["subprocess.Popen[str]"] = None
        self.address = ""
        self.start()

    def start(self) -> None:
        port = self.address.rpartition(":")[2] or "0"
        command = [
            os.environ["CASCADE_SERVER_PROGRAM"],
            "--model",
            str(self._model),
            "--port",
            port,
            "--threads",
            "2",
            "--cache-tokens",
            "128",
            "--cache-memory-bytes",
            "64MiB",
            "--http-port",
            "0",
            "--data-dir",
            str(self._data),
            *self._flags,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        output: List[str] = []
        for line in self._process.stdout:
            output.append(line)
            ready = re.search(r"listening on (\S+)", line)
            if ready:
                self.address = ready.group(1)
                break
        else:
            raise RuntimeError("the server did not start:\n" + "".join(output))
        # Nothing may fill the pipe.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def stop(self) -> None:
        """An orderly end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0

    def kill(self) -> None:
        """As if the machine had failed."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self._folder.cleanup()

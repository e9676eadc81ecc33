"""cascade-server over the tiny random model with its HTTP port, as a child process."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.request

PORT_IN_USE = 69


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class HttpServer:
    """Serves when the constructor returns. `data`: with a data folder, so that sessions have journals."""

    def __init__(self, *flags, data=False):
        self._folder = tempfile.TemporaryDirectory(prefix="cascade-http-test-")
        model = pathlib.Path(self._folder.name) / "tiny.gguf"
        subprocess.run([os.environ["CASCADE_TINY_MODEL_PROGRAM"], str(model)], check=True)
        if data:
            flags = [*flags, "--data-dir", str(pathlib.Path(self._folder.name) / "data")]
        self.log = []
        # Somebody may take the port between its choice and the server's start.
        for _ in range(5):
            self.port = free_port()
            command = [os.environ["CASCADE_SERVER_PROGRAM"], "--model", str(model), "--served-model-name", "tiny",
                       "--port", "0", "--http-port", str(self.port), "--threads", "2", *flags]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for line in self._process.stdout:
                self.log.append(line)
                if "listening on" in line:
                    # Nothing may fill the pipe.
                    threading.Thread(target=self._drain, daemon=True).start()
                    return
            if self._process.wait() != PORT_IN_USE:
                break
        raise RuntimeError("the server did not start:\n" + "".join(self.log))

    def _drain(self):
        for line in self._process.stdout:
            self.log.append(line)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics", timeout=20) as response:
            text = response.read().decode()
        return float(re.search(rf"^cascade_{name} (\S+)$", text, re.MULTILINE).group(1))

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._folder.cleanup()
        assert code == 0, "".join(self.log)

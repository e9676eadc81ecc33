"""The examples, as a user runs them."""

import pathlib
import subprocess
import sys
from typing import Any

import pytest

# Name to what it prints.
OTHERS = {
    "one_shot": "tokens: ",
    "streaming": "tokens: ",
    "session": "turns left: 1",
    "export_import": "both go on alike: True",
    "async_streams": "50 replies, ",
}
CHAT = {"chat_interrupt": "heard: "}


def run(project: pathlib.Path, name: str, address: str) -> str:
    done = subprocess.run(
        [sys.executable, str(project / "client/python/examples" / f"{name}.py"), address],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", OTHERS)
def test_example(project: pathlib.Path, server: Any, name: str) -> None:
    assert OTHERS[name] in run(project, name, server.address)


@pytest.mark.chat
@pytest.mark.parametrize("name", CHAT)
def test_chat_example(project: pathlib.Path, server: Any, name: str) -> None:
    assert CHAT[name] in run(project, name, server.address)

"""The wheel: what is in it, that it is this repository's, and its types."""

import inspect
import os
import pathlib
import re
import subprocess
import sys
import zipfile
from typing import Any, Dict

import cascade_client
import grpc_tools
import pytest
from cascade_client.wire import cascade_pb2, generate_pb2, session_pb2
from google.protobuf import descriptor_pb2


def test_the_wheel_is_what_is_tested() -> None:
    installed = pathlib.Path(os.environ["CASCADE_INSTALLED"])
    assert pathlib.Path(cascade_client.__file__).is_relative_to(installed)


def test_what_is_in_the_wheel(project: pathlib.Path) -> None:
    names = set(zipfile.ZipFile(os.environ["CASCADE_WHEEL"]).namelist())
    sources = {
        path.relative_to(project / "client/python/src").as_posix()
        for path in (project / "client/python/src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert "cascade_client/py.typed" in names
    for proto in (project / "proto/cascade/v1").glob("*.proto"):
        assert {f"cascade_client/wire/{proto.stem}_pb2.py", f"cascade_client/wire/{proto.stem}_pb2.pyi"} <= names


def test_the_wire_is_the_repositorys(project: pathlib.Path, tmp_path: pathlib.Path) -> None:
    protos = sorted((project / "proto/cascade/v1").glob("*.proto"))
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={project / 'proto'}",
            f"--proto_path={well_known}",
            f"--descriptor_set_out={tmp_path / 'set'}",
            *map(str, protos),
        ],
        check=True,
    )
    wanted = {
        file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    }
    modules = {module.DESCRIPTOR.name: module for module in (cascade_pb2, generate_pb2, session_pb2)}
    assert set(modules) == set(wanted)
    for name, module in modules.items():
        found = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(found)
        # protoc writes the JSON names, protobuf leaves out what can be derived.
        for file in (found, wanted[name]):
            for field in (field for message in file.message_type for field in message.field):
                field.ClearField("json_name")
            for field in (
                field for message in file.message_type for nested in message.nested_type for field in nested.field
            ):
                field.ClearField("json_name")
        assert found == wanted[name]


def test_the_version_is_the_projects(project: pathlib.Path) -> None:
    found = re.search(r"project\(cascade VERSION (\S+)", (project / "CMakeLists.txt").read_text())
    assert found and cascade_client.__version__ == found.group(1)


def test_few_dependencies() -> None:
    wheel = zipfile.ZipFile(os.environ["CASCADE_WHEEL"])
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = wheel.read(name).decode()
    assert {re.split(r"[^\w-]", each)[0] for each in re.findall(r"Requires-Dist: (.*)", metadata)} == {
        "grpcio",
        "protobuf",
    }
    assert "Requires-Python: >=3.9" in metadata


def mypy(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, *arguments],
        check=False,
        cwd=os.environ["CASCADE_INSTALLED"],
        env={**os.environ, "MYPYPATH": os.environ["CASCADE_INSTALLED"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_types(version: str) -> None:
    mypy("--python-version", version, "-p", "cascade_client")


def test_types_of_the_examples(project: pathlib.Path) -> None:
    mypy(*map(str, sorted((project / "client/python/examples").glob("*.py"))))


def test_types_that_callers_see(tmp_path: pathlib.Path) -> None:
    (tmp_path / "use.py").write_text("""
from cascade_client import AsyncClient, AsyncStream, Client, Reply, Stream

def use(client: Client) -> None:
    session = client.create_session()
    reply: Reply = session.send("x", temperature=0.5)
    stream: Stream = session.send("x", stream=True)
    session.send("x", temperature="hot")  # type: ignore[call-overload]
    client.generate("x", temprature=1)  # type: ignore[call-arg]
    client.generate("x", on_cancel="keep")  # type: ignore[call-arg]

async def use_async(client: AsyncClient) -> None:
    session = await client.create_session()
    reply: Reply = await session.send("x")
    stream: AsyncStream = session.send("x", stream=True)
    async for delta in stream:
        text: str = delta.text
""")
    mypy(str(tmp_path / "use.py"))


@pytest.mark.parametrize(
    "one, other",
    [
        (cascade_client.Client, cascade_client.AsyncClient),
        (cascade_client.Session, cascade_client.AsyncSession),
        (cascade_client.Stream, cascade_client.AsyncStream),
        (cascade_client.Chat, cascade_client.AsyncChat),
        (cascade_client.ChatReply, cascade_client.AsyncChatReply),
    ],
)
def test_both_clients_have_the_same_shape(one: Any, other: Any) -> None:
    def shape(kind: Any) -> Dict[str, Any]:
        return {
            name: (
                "property"
                if isinstance(member, property)
                else [(each.name, each.kind, each.default) for each in inspect.signature(member).parameters.values()]
            )
            for name, member in inspect.getmembers(kind)
            if not name.startswith("_") and (callable(member) or isinstance(member, property))
        }

    assert shape(one) == shape(other)
    assert len(shape(one)) >= 3


def test_examples_are_tested(project: pathlib.Path) -> None:
    names = {path.stem for path in (project / "client/python/examples").glob("*.py")}
    from examples_test import CHAT, OTHERS

    assert names == {*CHAT, *OTHERS}


def test_the_readme_names_what_there_is(project: pathlib.Path) -> None:
    text = (project / "client/python/README.md").read_text()
    for name in re.findall(r"`examples/(\w+)\.py`", text):
        assert (project / f"client/python/examples/{name}.py").is_file()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec", flags=0x2000)  # top-level await is allowed

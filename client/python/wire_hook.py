"""Build hook: compiles proto/cascade/v1/*.proto into cascade_client/wire.

A module made by protoc asks for a protobuf of its own major version. These hold the compiled descriptors and no code,
so that one wheel runs on every protobuf that pyproject.toml allows; the type stubs beside them are protoc's.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, List

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MODULE = '''"""Made from {proto} when the package was built."""
from cascade_client.wire import load

DESCRIPTOR = load({descriptor!r}, globals())
'''


class WireHook(BuildHookInterface):  # type: ignore[type-arg]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if version == "editable":
            raise RuntimeError(
                "cascade-client cannot be installed in place: its wire modules are made by the build. "
                "Install it without --editable."
            )
        self._folder = tempfile.mkdtemp(prefix="cascade-wire-")
        for path in _compile(_proto_root(pathlib.Path(self.root)), pathlib.Path(self.root), pathlib.Path(self._folder)):
            build_data["force_include"][str(path)] = f"cascade_client/wire/{path.name}"

    def finalize(self, version: str, build_data: Dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def _proto_root(root: pathlib.Path) -> pathlib.Path:
    """The folder that `cascade/v1` lies in: of a source package its own, otherwise the repository's."""
    for folder in (root / "proto", root.parent.parent / "proto"):
        if (folder / "cascade" / "v1" / "cascade.proto").is_file():
            return folder
    raise RuntimeError("cascade/v1/cascade.proto is neither in proto/ nor in the repository's proto/")


def _compile(proto_root: pathlib.Path, root: pathlib.Path, out: pathlib.Path) -> List[pathlib.Path]:
    import grpc_tools

    protos = sorted(path.relative_to(proto_root).as_posix() for path in proto_root.glob("cascade/v1/*.proto"))
    protos.append("status_details.proto")
    includes = [
        proto_root,
        root / "src" / "cascade_client" / "wire",
        pathlib.Path(grpc_tools.__file__).parent / "_proto",
    ]
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"--proto_path={folder}" for folder in includes)]
    files: List[pathlib.Path] = []
    for proto in protos:
        stem = os.path.basename(proto)[: -len(".proto")]
        descriptor = out / f"{stem}.descriptor"
        # Without its imports: each is a module of its own.
        subprocess.run([*command, f"--descriptor_set_out={descriptor}", proto], check=True)
        subprocess.run([*command, f"--pyi_out={out}", proto], check=True)
        module = out / f"{stem}_pb2.py"
        module.write_text(_MODULE.format(proto=proto, descriptor=descriptor.read_bytes()), encoding="utf-8")
        stub = out / f"{stem}_pb2.pyi"
        text = (out / (proto[: -len(".proto")] + "_pb2.pyi")).read_text(encoding="utf-8")
        text = text.replace("from cascade.v1", "from cascade_client.wire")
        stub.write_text(text.replace(", _Mapping]", ", _Mapping[str, object]]"), encoding="utf-8")  # for mypy --strict
        files += [module, stub]
    return files

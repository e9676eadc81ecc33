#!/usr/bin/env python3
"""Fails when an include points the wrong way, a library leaves its folder, or a file is longer than 500 lines.

The tables below are the architecture (docs/architecture.md). `check_layers.py` checks the tree that it lies in;
`check_layers.py --self-test` shows that each kind of fault is caught.
"""
import pathlib
import re
import sys
import tempfile

# Folder -> what its files may include besides the folder itself. A folder does not stand for its subfolders; a name with
# a suffix stands for one header.
ARROWS = {
    "kernels/base": [],
    "kernels": ["kernels/base"],
    "kernels/cpu": ["kernels/base", "kernels"],
    "kernels/cuda": ["kernels/base", "kernels"],
    "kernels/cuda/sm90": ["kernels/base", "kernels", "kernels/cuda"],
    "kernels/cuda_stub": ["kernels/base", "kernels"],
    "engine/base": ["kernels/base"],
    "engine/text/jinja": ["kernels/base"],
    "engine/text": ["kernels/base", "engine/base", "engine/text/jinja"],
    "engine/cache": ["kernels/base", "kernels", "engine/base"],
    "engine/model": ["kernels/base", "kernels", "engine/base", "engine/text", "engine/cache"],
    "engine/sampling": ["kernels/base", "kernels", "engine/turn_request.h"],
    # token_mask.h is the interface to the sampler.
    "engine/grammar": ["kernels/base", "engine/base", "engine/text", "engine/sampling/token_mask.h"],
    "engine/schedule": ["kernels/base", "kernels", "engine/base", "engine/cache", "engine/model"],
    # turn_request.h is plain values, what a caller asks.
    "engine/session": ["kernels/base", "kernels", "engine/base", "engine/cache", "engine/text", "engine/turn_request.h"],
    "engine": ["kernels/base", "kernels", "engine/base", "engine/text", "engine/cache", "engine/model", "engine/sampling",
               "engine/schedule", "engine/session", "engine/grammar"],
    # Knows nothing of gRPC.
    "server/http": ["kernels/base", "kernels", "engine", "engine/base", "engine/text", "engine/cache", "engine/session",
                    "server/worker_pool.h"],
    "server": ["proto", "server/http", "kernels/base", "kernels", "engine", "engine/base", "engine/text", "engine/cache",
               "engine/model"],
    "client": ["proto"],
    # Commands that read model files themselves. The client library knows nothing of them.
    "client/offline": ["proto", "client", "kernels/base", "kernels", "engine/base", "engine/text", "engine/cache",
                       "engine/model"],
    "tests": None,  # everything
}

# Library headers -> the folders (with their subfolders) that may include them, besides tests.
LIBRARIES = [
    (re.compile(r"(cuda|cublas|cudnn|nccl|nvtx|cutlass/|cute/|cub/|thrust/|cooperative_groups|mma\.h)"), ["kernels/cuda"]),
    (re.compile(r"(grpcpp|grpc)/"), ["server", "client"]),
    (re.compile(r"google/(protobuf|rpc)/"), ["server", "client"]),
    (re.compile(r"boost/"), ["server/http"]),
    (re.compile(r"hwy/"), ["kernels/cpu"]),
    (re.compile(r"(pcre2|utf8proc)"), ["engine/text"]),
    (re.compile(r"(sentencepiece_\w+|model_factory|model_interface|normalizer)(\.pb)?\.h"), ["engine/text"]),
    (re.compile(r"nlohmann/"), ["engine/grammar", "engine/model", "engine/text", "server", "client"]),
    (re.compile(r"openssl/"), ["engine/base"]),
    (re.compile(r"spdlog/"), ["server"]),
    (re.compile(r"CLI/"), ["server", "client"]),
]

TOP = ["proto", "kernels", "engine", "server", "client", "tests"]
CODE = {".h", ".cc", ".cu", ".cuh"}
COUNTED = CODE | {".py", ".proto", ".cmake", ".txt", ".sh", ""}
MAX_LINES = 500
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def room(path):
    """The folder of the table that a path belongs to: the longest that it begins with."""
    parts = path.split("/")[:-1]
    while parts and "/".join(parts) not in ARROWS:
        parts.pop()
    return "/".join(parts)


def fault_of_include(root, path, header):
    """What is wrong with `path` including `header`, or None."""
    home = room(path)
    allowed = ARROWS[home]
    if header.startswith("cascade/v1/"):
        if allowed is not None and "proto" not in allowed:
            return f"{home} knows nothing of the wire, but includes {header}"
        return None
    for pattern, folders in LIBRARIES:
        if pattern.match(header):
            if allowed is not None and not any(path.startswith(folder + "/") for folder in folders):
                return f"{header} may be included in {', '.join(folders)} only"
            return None
    if header.split("/")[0] not in TOP:
        return None
    if not (root / header).is_file():
        return f"{header} does not exist"
    target = room(header)
    if allowed is None or target == home or target in allowed or header in allowed:
        return None
    return f"{home} must not include {header}"


def check(root):
    faults = []
    for top in TOP:
        for file in sorted((root / top).rglob("*")):
            path = file.relative_to(root).as_posix()
            if not file.is_file() or file.suffix not in COUNTED or "/golden/" in path:
                continue
            try:
                lines = file.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError:
                continue
            if len(lines) > MAX_LINES:
                faults.append(f"{path}: {len(lines)} lines; split it before {MAX_LINES}")
            if file.suffix not in CODE:
                continue
            if file.suffix in {".h", ".cuh"} and "-inl." not in path and "#pragma once" not in lines:
                faults.append(f"{path}: no #pragma once")
            if not room(path):
                faults.append(f"{path}: its folder is not in the table of scripts/check_layers.py")
                continue
            for number, line in enumerate(lines, 1):
                include = INCLUDE.match(line)
                fault = fault_of_include(root, path, include.group(2)) if include else None
                if fault:
                    faults.append(f"{path}:{number}: {fault}")
    return faults


def self_test():
    good = {"kernels/backend.h": "", "kernels/cpu/linear.cc": '#include "hwy/highway.h"\n#include "kernels/backend.h"\n',
            "kernels/cuda/attend.cu": "#include <cuda_runtime.h>\n", "engine/engine.h": '#include "kernels/backend.h"\n',
            "engine/text/tokenizer.cc": "#include <pcre2.h>\n#include \"normalizer.h\"\n",
            "engine/base/seal.cc": "#include <openssl/evp.h>\n", "server/main.cc": '#include "cascade/v1/cascade.pb.h"\n',
            "client/main.cc": "#include <grpcpp/grpcpp.h>\n", "tests/all_test.cc": '#include "kernels/backend.h"\n'}
    bad = {"kernels/cpu/a.cc": '#include "engine/engine.h"\n', "kernels/b.cc": '#include "kernels/cpu/c.h"\n',
           "engine/c.cc": "#include <grpcpp/grpcpp.h>\n", "engine/cache/d.cc": '#include "engine/engine.h"\n',
           "engine/e.cc": '  #  include "cascade/v1/cascade.pb.h"\n', "client/f.cc": '#include "engine/engine.h"\n',
           "server/g.cc": '#include "client/main.h"\n', "kernels/cpu/h.cc": "#include <cuda_runtime.h>\n",
           "engine/model/i.cc": '#include "google/protobuf/message.h"\n', "engine/j.cc": '#include "hwy/highway.h"\n',
           "server/k.cc": '#include "engine/no_such_file.h"\n', "server/l.cc": '#include "kernels/cpu/c.h"\n',
           "client/m.cc": "\n" * (MAX_LINES + 1), "engine/n.h": "int x;\n", "engine/text/o.cc": "#include <spdlog/spdlog.h>\n",
           "engine/session/q.cc": "#include <openssl/evp.h>\n", "server/r.cc": "#include <boost/asio.hpp>\n",
           "server/http/s.cc": '#include "server/config.h"\n',
           "engine/model/p.cc": '#include "sentencepiece_processor.h"\n'}
    files = {**good, **bad, "kernels/cpu/c.h": "", "client/main.h": "", "server/config.h": "",
             "server/http/t.cc": "#include <boost/asio.hpp>\n"}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(("#pragma once\n" if path.endswith(".h") and path != "engine/n.h" else "") + text)
        caught = {fault.split(":")[0] for fault in check(root)}
    missed, wronged = sorted(set(bad) - caught), sorted(caught - set(bad))
    print(f"{len(bad)} faults planted, {len(set(bad) & caught)} caught")
    for path in missed:
        print(f"not caught: {path}")
    for path in wronged:
        print(f"wrongly reported: {path}")
    return 1 if missed or wronged else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    faults = check(root)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

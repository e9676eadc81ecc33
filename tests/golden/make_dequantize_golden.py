#!/usr/bin/env python3
"""Writes dequantize.txt: stored blocks and the float32 that the `gguf` package makes of them, and digests of real rows.
Without a model, dequantize_digests.txt: blocks of the other types.

    pip install gguf && python make_dequantize_golden.py MODEL.gguf > dequantize.txt
    python make_dequantize_golden.py > dequantize_digests.txt

Lines: `block TYPE STORED VALUES`, both as hexadecimal bytes (32 elements each), and
`row TENSOR INDEX DIGEST`, the SHA-1 of the row's float32 bytes in the model; in the other file
`block TYPE STORED DIGEST`, the SHA-1 of the block's float32 bytes, every NaN as 7fc00000.
"""
import hashlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFReader
from gguf.quants import dequantize

EXTREMES = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF,
                     0x7C00, 0xFC00, 0x7E00, 0xFE01], np.uint16)  # zeros, subnormals, normals, infinities, NaN
ROWS = [("token_embd.weight", 0), ("token_embd.weight", 49151), ("blk.0.attn_norm.weight", 0), ("blk.0.attn_q.weight", 7),
        ("blk.0.attn_k.weight", 191), ("blk.14.ffn_down.weight", 300), ("blk.29.ffn_gate.weight", 1535),
        ("blk.29.attn_output.weight", 0), ("output_norm.weight", 0)]


def block(kind: Type, stored: bytes) -> None:
    with np.errstate(all="ignore"):
        values = dequantize(np.frombuffer(stored, np.uint8).reshape(1, -1), kind).reshape(-1)
    assert values.dtype == np.float32 and values.size == 32
    print("block", kind.name, stored.hex(), values.tobytes().hex())


# Bytes of a block, and where its f16 scale and minimum are.
OTHERS = [(Type.Q5_0, 22, [0]), (Type.Q5_1, 24, [0, 2]), (Type.IQ4_NL, 18, [0]), (Type.Q2_K, 84, [80, 82]),
          (Type.Q3_K, 110, [108]), (Type.Q4_K, 144, [0, 2]), (Type.Q5_K, 176, [0, 2]), (Type.Q6_K, 210, [208])]


def digest(kind: Type, stored: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        values = dequantize(stored.reshape(1, -1), kind).reshape(-1)
    assert values.dtype == np.float32
    bits = values.view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    print("block", kind.name, stored.tobytes().hex(), hashlib.sha1(bits.astype("<u4").tobytes()).hexdigest())


def digests() -> None:
    random = np.random.default_rng(2)
    for kind, size, halves in OTHERS:
        bodies = [np.zeros(size, np.uint8), np.full(size, 255, np.uint8), np.resize(np.array([0x55, 0xAA], np.uint8), size)]
        bodies += [random.integers(0, 256, size, np.uint8) for _ in range(3)]
        for body in bodies:  # an ordinary scale under extreme quants and sub-scales
            for place in halves:
                body[place:place + 2] = np.array([random.uniform(-0.1, 0.1)], "<f2").view(np.uint8)
            digest(kind, body)
        for i in range(16):  # extreme scales
            body = random.integers(0, 256, size, np.uint8)
            for n, place in enumerate(halves):
                body[place:place + 2] = EXTREMES[(i + 5 * n) % 16:][:1].astype("<u2").view(np.uint8)
            digest(kind, body)
        for _ in range(10):
            digest(kind, random.integers(0, 256, size, np.uint8))


def main() -> None:
    if len(sys.argv) == 1:
        return digests()
    random = np.random.default_rng(1)
    draw = lambda count: random.integers(0, 256, count, np.uint8).tobytes()
    block(Type.F16, np.concatenate([EXTREMES, EXTREMES ^ 0x0155]).astype("<u2").tobytes())
    extreme = np.concatenate([EXTREMES, [0x7F80, 0xFF80, 0x7FC0, 0x0080]]).astype(np.uint16)
    block(Type.BF16, np.resize(extreme, 32).astype("<u2").tobytes())
    for kind, scales, body in ((Type.Q4_0, 1, 16), (Type.Q4_1, 2, 16), (Type.Q8_0, 1, 32)):
        for scale in EXTREMES:
            block(kind, scale.tobytes() * scales + draw(body))
        if scales == 2:
            for i, scale in enumerate(EXTREMES):
                block(kind, scale.tobytes() + EXTREMES[(i * 5 + 3) % 16].tobytes() + draw(body))
    for kind, size in ((Type.F32, 128), (Type.F16, 64), (Type.BF16, 64), (Type.Q4_0, 18), (Type.Q4_1, 20), (Type.Q8_0, 34)):
        for _ in range(12):
            block(kind, draw(size))
    tensors = {tensor.name: tensor for tensor in GGUFReader(sys.argv[1]).tensors}
    for name, index in ROWS:
        tensor = tensors[name]
        values = dequantize(tensor.data, tensor.tensor_type).reshape(-1, int(tensor.shape[0]))[index]
        print("row", name, index, hashlib.sha1(values.astype("<f4").tobytes()).hexdigest())


if __name__ == "__main__":
    main()

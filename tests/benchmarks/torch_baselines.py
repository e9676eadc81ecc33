#!/usr/bin/env python3
"""What PyTorch reaches on the same device: linear layers of Llama-3.1-8B's shapes with few rows, and attention without
scores. Beside cuda_linear_benchmark and cuda_attend_benchmark, in the same call. Needs torch and a CUDA device."""
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

WORKING_SET = 768 << 20  # copies of a matrix in turn, which together do not fit the second-level cache
REPETITIONS = 21


def seconds(work, calls):
    """Median of one of the calls that work() makes, in a graph."""
    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    times = []
    for repetition in range(-3, REPETITIONS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        if repetition >= 0:
            times.append(begin.elapsed_time(end) * 1e-3 / calls)
    return statistics.median(times)


def linear(name, rows, cols):
    copies = max(1, WORKING_SET // (2 * rows * cols))
    weights = [torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
    for m in (1, 16, 64):
        x = torch.randn(m, cols, device="cuda", dtype=torch.bfloat16)

        def work():
            for weight in weights:
                torch.nn.functional.linear(x, weight)

        time = seconds(work, copies)
        print(f"{name:12} {m:4}  torch          {time * 1e6:9.2f} us  {2e-9 * rows * cols / time:7.1f} GB/s")


def attention(queries, keys, backend, name):
    q = torch.randn(1, 32, queries, 128, device="cuda", dtype=torch.bfloat16)
    k, v = (torch.randn(1, 32, keys, 128, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def work():
        with sdpa_kernel(backend):
            torch.nn.functional.scaled_dot_product_attention(q, k, v)

    time = seconds(work, 1)
    flops = 4 * 128 * 32 * queries * keys
    print(f"attention {queries} x {keys}  {name:15} {time * 1e6:9.2f} us  {1e-12 * flops / time:6.1f} TFLOP/s")


def main():
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for shape in (("qkv", 6144, 4096), ("o", 4096, 4096), ("gate + up", 28672, 4096), ("down", 4096, 14336),
                  ("head", 128256, 4096)):
        linear(*shape)
    attention(4096, 20480, SDPBackend.FLASH_ATTENTION, "FlashAttention2")
    attention(4096, 20480, SDPBackend.CUDNN_ATTENTION, "cuDNN")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What PyTorch's attention without scores takes for what stride_attention measures, on the same device in the same call:
FlashAttention-2 and cuDNN, 32 heads of 128, bfloat16. Needs torch and a CUDA device.

    stride_attention_baselines.py [--cache-tokens 16384,..] [--stride 4096,..]   one stride over C + S keys, unmasked
    stride_attention_baselines.py --tokens 131072,1048576                        causal attention over all tokens: over 8
                                                                                 heads, times 4
"""
import argparse
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

HEADS, DIM, TIMED_HEADS = 32, 128, 8
BACKENDS = (("FlashAttention-2", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION))


def times(heads, queries, keys, backend, causal, repetitions):
    """Seconds of each repetition; inputs take turns, so that the second-level cache does not hold them."""
    copies = 1 if causal else 4
    inputs = [[torch.randn(1, heads, n, DIM, device="cuda", dtype=torch.bfloat16) for n in (queries, keys, keys)]
              for _ in range(copies)]
    seconds = []
    with sdpa_kernel(backend):
        for repetition in range(-2 if repetitions > 1 else 0, repetitions):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for q, k, v in inputs:
                torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            end.record()
            end.synchronize()
            if repetition >= 0:
                seconds.append(begin.elapsed_time(end) * 1e-3 / copies)
    return seconds


def report(name, seconds, flops):
    middle = statistics.median(seconds)
    print(f"{name:52} {middle * 1e3:10.3f} ms  ({min(seconds) * 1e3:.3f} .. {max(seconds) * 1e3:.3f})  "
          f"{flops / middle * 1e-12:6.1f} TFLOP/s", flush=True)


def main():
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache-tokens", type=numbers, default=[16384, 32768, 65536])
    parser.add_argument("--stride", type=numbers, default=[1024, 4096])
    parser.add_argument("--tokens", type=numbers, default=[])
    parser.add_argument("--repetitions", type=int, default=11)
    options = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for tokens in options.tokens:
        for name, backend in BACKENDS:
            repetitions = 3 if tokens <= 262144 else 1
            seconds = times(TIMED_HEADS, tokens, tokens, backend, True, repetitions)
            scale = HEADS // TIMED_HEADS
            report(f"full {tokens} tokens {name}", [s * scale for s in seconds], 2.0 * DIM * HEADS * tokens * tokens)
    if options.tokens:
        return
    for cache_tokens in options.cache_tokens:
        for stride in options.stride:
            for name, backend in BACKENDS:
                keys = cache_tokens + stride
                seconds = times(HEADS, stride, keys, backend, False, options.repetitions)
                report(f"dense {stride} x {keys} {name}", seconds, 4.0 * DIM * HEADS * stride * keys)


if __name__ == "__main__":
    main()

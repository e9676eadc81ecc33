#!/usr/bin/env python3
"""Draws what measure_stride_attention has left as an SVG: seconds of one layer's attention against tokens, both logarithmic.

    tests/benchmarks/plot_stride_attention.py RESULTS > docs/stride_attention.svg
"""
import math
import pathlib
import re
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 360, 70, 190, 20, 50
COLOURS = ("#1f5fa8", "#5b9bd5", "#b3541e", "#7a7a7a")


def curves(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Name of a line -> (tokens, seconds)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text().splitlines():
            own = re.match(r"session (\d+) tokens C=(\d+) \S+ \S+ \S+ +([\d.]+) ms", line)
            full = re.match(r"full (\d+) tokens (\S+) +([\d.]+) ms", line)
            if match := own or full:
                name = f"cascade, C = {int(match[2]):,}" if own else f"{match[2]}, all tokens"
                found.setdefault(name, []).append((int(match[1]), float(match[3]) * 1e-3))
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lines = curves(pathlib.Path(sys.argv[1]))
    if not lines:
        sys.exit(f"{sys.argv[1]}: no sessions_*.log and full.log with measurements")
    points = [point for line in lines.values() for point in line]
    x_range = [math.log2(f(p[0] for p in points)) for f in (min, max)]
    y_range = [math.floor(math.log10(min(p[1] for p in points))), math.ceil(math.log10(max(p[1] for p in points)))]
    x = lambda tokens: LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(tokens) - x_range[0]) / max(x_range[1] - x_range[0], 1)
    y = lambda s: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(s) - y_range[0]) / max(y_range[1] - y_range[0], 1)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for power in range(y_range[0], y_range[1] + 1):
        level = y(10.0**power)
        out.append(f'<line x1="{LEFT}" y1="{level:.1f}" x2="{WIDTH - RIGHT}" y2="{level:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for tokens in sorted({p[0] for p in points}):
        label = f"{tokens // 1024}k" if tokens < 1 << 20 else f"{tokens / (1 << 20):g}M"
        out.append(f'<text x="{x(tokens):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens read</text>')
    labels = []  # vertical places that are taken
    for (name, line), colour in zip(sorted(lines.items(), key=lambda item: -max(item[1])[1]), COLOURS):
        line.sort()
        path = " ".join(f"{x(tokens):.1f},{y(seconds):.1f}" for tokens, seconds in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = y(line[-1][1]) + 4
        while any(abs(at - other) < 15 for other in labels):
            at += 15
        labels.append(at)
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{at:.1f}" fill="{colour}">{name}</text>')
    print("\n".join(out + ["</svg>"]))


if __name__ == "__main__":
    main()

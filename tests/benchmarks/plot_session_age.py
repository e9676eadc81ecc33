#!/usr/bin/env python3
"""Draws session_age's table as an SVG: time per token and resident memory against tokens seen.

    build/cpu-release/bin/session_age .. | tests/benchmarks/plot_session_age.py > docs/session_age.svg
"""
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 70, 70, 30, 50


def main() -> None:
    rows = []
    for line in sys.stdin:
        part = line.split()
        if len(part) == 4 and part[0].isdigit():
            rows.append((int(part[0]), float(part[1]), float(part[2])))
    tokens = max(r[0] for r in rows)
    time_top, memory_top = 1.4 * max(r[1] for r in rows), 1.4 * max(r[2] for r in rows)
    x = lambda t: LEFT + (WIDTH - LEFT - RIGHT) * t / tokens
    y = lambda value, top: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top
    line = lambda column, top: " ".join(f"{x(r[0]):.1f},{y(r[column], top):.1f}" for r in rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for i in range(5):
        level = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4
        out.append(f'<line x1="{LEFT}" y1="{level}" x2="{WIDTH - RIGHT}" y2="{level}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{level + 4}" text-anchor="end" fill="#1f5fa8">{time_top * i / 4:.0f}</text>')
        out.append(f'<text x="{WIDTH - RIGHT + 8}" y="{level + 4}" fill="#b3541e">{memory_top * i / 4:.0f}</text>')
        out.append(f'<text x="{x(tokens * i / 4):.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tokens * i // 4000}k</text>')
    out += [f'<polyline points="{line(1, time_top)}" fill="none" stroke="#1f5fa8" stroke-width="2"/>',
            f'<polyline points="{line(2, memory_top)}" fill="none" stroke="#b3541e" stroke-width="2"/>',
            f'<text x="{LEFT}" y="18" fill="#1f5fa8">time per token, &#181;s</text>',
            f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end" fill="#b3541e">resident memory, MiB</text>',
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens seen by the session</text>', "</svg>"]
    print("\n".join(out))


if __name__ == "__main__":
    main()

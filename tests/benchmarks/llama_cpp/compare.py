"""Prints one table of cascade_bench's and llama-bench's results, medians over all rounds: compare.py FOLDER."""
import glob
import json
import statistics
import sys

NAMES = {(2048, 0, 0): "prefill 2048", (0, 64, 0): "decode 64", (0, 64, 4096): "decode 64 at depth 4096"}

folder = sys.argv[1]
ours, theirs, setup, build = {}, {}, "", ""
for file in glob.glob(f"{folder}/cascade.*.json"):
    result = json.load(open(file, encoding="utf-8"))
    setup = result["setup"]
    for row in result["measurements"]:
        ours.setdefault(row["name"], []).extend(row["tokens_per_second"])
for file in glob.glob(f"{folder}/llama_cpp.*.json"):
    for row in json.load(open(file, encoding="utf-8")):
        name = NAMES[(row["n_prompt"], row["n_gen"], row["n_depth"])]
        theirs.setdefault(name, []).extend(row["samples_ts"])
        build = f"llama.cpp build {row['build_number']}, {row['cpu_info']}, {row['n_threads']} threads"

print(f"{setup}\n{build}")
print(f"{'tokens/s, median [lowest, highest]':36}{'Cascade':>26}{'llama.cpp':>26}{'ratio':>8}")
for name in NAMES.values():
    cells = [f"{statistics.median(v):.1f} [{min(v):.1f}, {max(v):.1f}]" for v in (ours[name], theirs[name])]
    ratio = statistics.median(ours[name]) / statistics.median(theirs[name])
    print(f"{name:36}{cells[0]:>26}{cells[1]:>26}{ratio:>8.2f}")

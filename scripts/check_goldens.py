#!/usr/bin/env python3
"""Fails when a file in tests/golden is read by no test (the scripts there that made them do not count).

A golden counts as read when a string of a test's source names it: in full ("dense_and_greedy.json"), or in two parts
that some code joins ("cascade_moby_dick_" and "paper_max"). Below the topmost folders one source must name the folder as
well ("llama-files" in golden/models): what lies in such folders is called the same in each.
"""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent / "tests"
tests = []  # the strings of each
for file in root.rglob("*"):
    if file.suffix in {".cc", ".h", ".py", ".txt"} and "golden" not in file.relative_to(root).parts[:-1]:
        tests.append(set(re.findall(r'"([^"\n]*)"', file.read_text(encoding="utf-8"))))


def is_named(name, strings):
    stem = name.rsplit(".", 1)[0]
    if {name, stem} & strings or any(text.endswith("/" + name) for text in strings):
        return True
    return any(stem[:cut] in strings and stem[cut:] in strings for cut in range(1, len(stem)))


def is_read(golden):
    has_its_folders = all(any(is_named(folder, strings) for strings in tests) for folder in golden.parts[1:-1])
    return has_its_folders and is_named(golden.name, set().union(*tests))


goldens = sorted(path.relative_to(root / "golden") for path in (root / "golden").rglob("*") if path.is_file() and path.suffix != ".py")
unread = [golden for golden in goldens if not is_read(golden)]
for golden in unread:
    print(f"tests/golden/{golden} is read by no test")
print(f"{len(goldens)} goldens, {len(unread)} of them unread")
sys.exit(1 if unread or not goldens else 0)

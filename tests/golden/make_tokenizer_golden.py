#!/usr/bin/env python3
"""Writes tokenizer_random.json: tough random strings with the ids that the `tokenizers` library gives them.

Needs `pip install gguf tokenizers`. Run: make_tokenizer_golden.py MODEL.gguf > tokenizer_random.json
The tokenizer is built from the vocabulary and merges of the model file, so that only the algorithm is compared. Bytes
without a token are kept out of the strings: libraries differ in whether the neighbours of such a byte can merge.
"""

import json
import random
import sys
import unicodedata

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

CONTROL = 3


def build(fields):
    tokens = fields["tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    return tokenizer


def missing_bytes(tokens):
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    known = set(tokens)
    return {byte for byte, character in characters.items() if character not in known}


def random_text(rng, control):
    words = ["the", " of", "'ll", "'s", "'T", "don't", "''", "CamelCase", "x1y2", "naïve", "Straße", "日本", "ไทย", "עִברִית"]
    spaces = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e", "\u200b", "\u2028"]
    marks = ["!", "...", "--", "🙂", "👩‍👧", "🇩🇪", "\u0301", "½", "Ⅷ", "٣", "²", "_", "\\", "\u0001", "\x7f", "\ufffd"]

    def any_character():
        while True:
            limit = rng.choice([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000])
            character = chr(rng.randrange(limit))
            # What newer Unicode versions assign differs between libraries.
            if unicodedata.category(character) not in ("Cn", "Cs", "Co"):
                return character

    def part():
        kind = rng.randrange(7)
        if kind == 0:
            return rng.choice(words)
        if kind == 1:
            return rng.choice(spaces) * rng.choice([1, 1, 2, 5])
        if kind == 2:
            return rng.choice(marks) * rng.choice([1, 1, 3])
        if kind == 3:
            return str(rng.randrange(10 ** rng.randrange(1, 8)))
        if kind == 4:
            return any_character() * rng.choice([1, 1, 1, 9])
        if kind == 5:
            return rng.choice(control)
        return "".join(rng.choice("etaoin shrdlu") for _ in range(rng.randrange(1, 12)))

    return "".join(part() for _ in range(rng.randrange(1, 24)))


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    fields = {
        name.split(".")[-1]: field.contents()
        for name, field in GGUFReader(sys.argv[1]).fields.items()
        if name.startswith("tokenizer.ggml.")
    }
    control = [token for token, kind in zip(fields["tokens"], fields["token_type"]) if kind == CONTROL]
    plain = build(fields)
    special = build(fields)
    special.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    missing = missing_bytes(fields["tokens"])
    rng = random.Random(1)
    cases = []
    while len(cases) < count:
        text = random_text(rng, control)
        if missing.intersection(text.encode()):
            continue
        case = {"text": text, "ids": plain.encode(text).ids, "special_ids": special.encode(text).ids}
        if case["special_ids"] == case["ids"]:
            del case["special_ids"]  # the same
        cases.append(case)
    print('{"source": "tokenizers, by make_tokenizer_golden.py", "cases": [')
    print(",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in cases))
    print("]}")


if __name__ == "__main__":
    main()

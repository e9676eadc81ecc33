#!/usr/bin/env python3
"""Trains small BPE tokenizers of every form that we read and records what the `tokenizers` library makes of texts.

Needs `pip install tokenizers`. Run: make_tokenizer_goldens.py TEXT.. (books, for training). Writes NAME.json (the
tokenizers) and expected.json beside this file: the ids of the texts of ../tokenizer_bpe.json in full, and a SHA-1 for
every 100 of 10,000 random strings, of ids (special tokens as plain text, and found) and of decoded text. The strings come
from Strings below, which tests/engine/text/tokenizer_strings.h repeats.

Special tokens as plain text: the library would look for their texts in every case, so it gets a copy without them.
"""

import hashlib
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
COUNT = 10000
PER_DIGEST = 100
VOCABULARY = 1200
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
MORE_TEXT = ["Straße naïve café Über 日本語 日本 мир привет 한국어 שלום ไทย 123 4567 2026 1234567890\r\n\r\n\t\tif (x == 10) {}"] * 20


class Strings:
    """Random strings; every draw is one step of SplitMix64."""

    WORDS = ["the", " of", "'ll", "'s", "'T", "'LL", "'ſ", "don't", "''", "CamelCase", "x1y2", "naïve", "Straße", "日本", "ไทย", "עִברִית", "한국", "\u1112\u1161\u11ab"]
    SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\r", " \n", "\u0085", "\u00a0", "\u180e", "\u2003", "\u3000", "\u200b", "\u2028", "\u000b", "\u001c", "\u1680", "\u202f"]
    MARKS = ["!", "...", "--", "🙂", "👩\u200d👧", "🇩🇪", "\u0301", "e\u0301", "\u0323\u0307", "½", "Ⅷ", "٣", "²", "_", "\\", "\u0001", "\u0000", "\u007f", "\ufffd", "\u2581", "<0x41>", "\ufeff"]
    RANGES = [(0x00, 0x7F), (0xA0, 0x17F), (0x300, 0x36F), (0x391, 0x3A1), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x660, 0x669), (0x904, 0x94D), (0x966, 0x96F), (0xE01, 0xE3A), (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2), (0x1E00, 0x1EFF), (0x1F00, 0x1F15), (0x2000, 0x2027), (0x2160, 0x2188), (0x2460, 0x249B), (0x3041, 0x3096), (0x3099, 0x309A), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xE000, 0xE00F), (0xF900, 0xFA2D), (0xFF01, 0xFF5E), (0x10300, 0x1031F), (0x1D400, 0x1D454), (0x1F1E6, 0x1F1FF), (0x1F600, 0x1F64F), (0x20000, 0x20010), (0xE0020, 0xE002F)]
    LETTERS = "etaoin shrdlu"

    def __init__(self, added):
        self.added = added

    def pick(self, count):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return (z ^ z >> 31) % count

    def part(self):
        kind = self.pick(8)
        if kind == 0:
            return self.WORDS[self.pick(len(self.WORDS))]
        if kind == 1:
            space = self.SPACES[self.pick(len(self.SPACES))]
            return space * [1, 1, 2, 5][self.pick(4)]
        if kind == 2:
            mark = self.MARKS[self.pick(len(self.MARKS))]
            return mark * [1, 1, 3][self.pick(3)]
        if kind == 3:
            digits = 1 + self.pick(8)
            return "".join("0123456789"[self.pick(10)] for _ in range(digits))
        if kind == 4:
            low, high = self.RANGES[self.pick(len(self.RANGES))]
            return chr(low + self.pick(high - low + 1)) * [1, 1, 1, 9][self.pick(4)]
        if kind == 5:
            return self.added[self.pick(len(self.added))]
        if kind == 6:
            length = 1 + self.pick(12)
            return "".join(self.LETTERS[self.pick(len(self.LETTERS))] for _ in range(length))
        low, high = self.RANGES[self.pick(len(self.RANGES))]
        length = 1 + self.pick(60)
        first = chr(low + self.pick(high - low + 1))
        second = chr(low + self.pick(high - low + 1))
        return (first + second) * length if self.pick(8) == 0 else first * min(length, 7)

    def string(self, index):
        self.state = index
        return "".join(self.part() for _ in range(1 + self.pick(24)))


USER = [
    AddedToken("<tool>", normalized=False),
    AddedToken("<tool>>", normalized=False),
    AddedToken("[NOTE]", normalized=True, lstrip=True, rstrip=True),
    AddedToken("\u1112\u1161\u11ab!", normalized=True),
    AddedToken("[left]", normalized=False, lstrip=True),
]
SPECIAL = [
    AddedToken("<|begin|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<|im_end|>x", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("<|right|>", special=True, normalized=False, rstrip=True),
]


def train(tokenizer, pre_tokenizer, texts, alphabet, normalizer=None):
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, limit_alphabet=400, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_level(texts, steps, use_regex, normalizer=None, ignore_merges=False):
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    pre_tokenizer = pre_tokenizers.Sequence([*steps, level]) if steps else level
    trained = train(Tokenizer(models.BPE()), pre_tokenizer, texts, pre_tokenizers.ByteLevel.alphabet(), normalizer)
    merges = [tuple(merge) for merge in trained["merges"]]
    if ignore_merges:
        merges = [merge for i, merge in enumerate(merges) if i % 7 != 3]  # tokens that only a whole piece can be
    tokenizer = Tokenizer(models.BPE(trained["vocab"], merges, ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def characters(texts, normalizer=None, pre_tokenizer=None, byte_fallback=True, more=()):
    trained = train(Tokenizer(models.BPE()), pre_tokenizers.Metaspace(prepend_scheme="always", split=True), texts, ["\u2581"])
    tokens = ["<unk>", "<s>", "</s>"]
    if byte_fallback:
        tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [tuple(merge) for merge in trained["merges"]] + list(more)
    for token in [*sorted(trained["vocab"], key=trained["vocab"].get), *(left + right for left, right in more)]:
        if token not in tokens:
            tokens.append(token)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def build(texts):
    isolated = lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated")
    spaces = [("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581")]
    prepend = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    always = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    return {
        "gpt2": byte_level(texts, [], True),
        "smollm": byte_level(texts, [pre_tokenizers.Digits(individual_digits=True)], True),
        "llama3": byte_level(texts, [isolated(LLAMA3)], False, ignore_merges=True),
        "qwen2": byte_level(texts, [isolated(QWEN2)], False, normalizer=normalizers.NFC()),
        "llama2_prepend": characters(texts, normalizer=prepend, more=spaces),
        "llama2_metaspace": characters(texts, pre_tokenizer=first, more=[*spaces, ("s", "\u2581"), ("s\u2581", "a")]),
        "llama2_words": characters(texts, pre_tokenizer=always, byte_fallback=False, more=spaces),
    }


def digests(lines):
    chunks = [lines[i : i + PER_DIGEST] for i in range(0, len(lines), PER_DIGEST)]
    return [hashlib.sha1("".join(chunk).encode()).hexdigest() for chunk in chunks]


def ids_line(ids):
    return " ".join(map(str, ids)) + "\n"


def main():
    texts = [line for path in sys.argv[1:] for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()] + MORE_TEXT
    golden = json.loads((HERE.parent / "tokenizer_bpe.json").read_text(encoding="utf-8"))
    fixed = [case["text"] for case in golden["cases"] + golden["with_special_tokens"]]
    expected = {}
    for name, tokenizer in build(texts).items():
        tokenizer.add_tokens(USER)
        special = [AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")] if "llama2" in name else []
        tokenizer.add_special_tokens(special + SPECIAL)
        tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))])
        data = json.loads(tokenizer.to_str())
        (HERE / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        data["added_tokens"] = [token for token in data["added_tokens"] if not token["special"]]
        data["post_processor"] = None
        plain = Tokenizer.from_str(json.dumps(data))
        added = [token.content for token in USER + SPECIAL]
        strings = Strings(added)
        encode = lambda encoder, text: encoder.encode(text, add_special_tokens=False).ids
        plain_lines, special_lines, text_lines = [], [], []
        for index in range(COUNT):
            text = strings.string(index)
            ids = encode(tokenizer, text)
            plain_lines.append(ids_line(encode(plain, text)))
            special_lines.append(ids_line(ids))
            text_lines.append(tokenizer.decode(ids, skip_special_tokens=True) + "\n")
        expected[name] = {
            "added": added,
            "fixed": [encode(plain, text) for text in fixed],
            "plain": digests(plain_lines),
            "special": digests(special_lines),
            "decoded": digests(text_lines),
        }
        print(name, tokenizer.get_vocab_size(), tokenizer.encode("The year\u00a02026, naïve").tokens)
    text = ",\n".join(f"{json.dumps(name)}:{json.dumps(case, separators=(',', ':'))}" for name, case in expected.items())
    (HERE / "expected.json").write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

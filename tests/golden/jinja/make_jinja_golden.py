#!/usr/bin/env python3
"""Renders template snippets with Python's jinja2 as transformers set it up, and writes jinja_snippets.json.

Each entry: the template, which variables it gets (beside VARIABLES), and its output, or null where Python raises.
Needs jinja2 3.1.6 or later.  make_jinja_golden.py > jinja_snippets.json
"""
import copy
import datetime
import itertools
import json
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

import jinja_snippets

NOW = datetime.datetime(2024, 2, 29, 13, 5, 9)

VARIABLES = {
    "messages": [{"role": "system", "content": " be brief "}, {"role": "user", "content": "Hi <b>\u00e9\U0001F600</b>\n"},
                 {"role": "assistant", "content": "Hello"}],
    "add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>",
    "i": 7, "z": 0, "neg": -3, "f": 2.5, "t": True, "no": False, "nil": None, "s": "hello World", "e": "",
    "u": "\u00dcber stra\u00dfe \u4f60\u597d \U0001F600!", "l": [3, 1, 2], "m": ["b", "A", "c"], "el": [], "d": {"b": 1, "a": 2, "C": 3},
    "ed": {}, "n": {"x": {"y": [10, 20]}}, "pairs": [["k", 1], ["v", 2]], "long": "a b  c\td\ne\r\nf\x0bg",
    "users": [{"name": "bob", "age": 30, "on": True}, {"name": "Al", "age": 5, "on": False}, {"name": "cy", "age": 30}],
}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(lineno)

    def _render(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


class Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=lambda format: NOW.strftime(format), dict=Dict(),
                       namespace=Namespace)
    return env


def main():
    env = environment()
    entries = []
    for template in dict.fromkeys(itertools.chain(jinja_snippets.SNIPPETS, jinja_snippets.generated())):
        try:
            output = env.from_string(template).render(**copy.deepcopy(VARIABLES))  # `indent` of a list adds to it
        except Exception:  # whatever Python raises is an error of the template
            output = None
        if output is not None and (" at 0x" in output or any("\ud800" <= c <= "\udfff" for c in output)):
            output = None  # an address, or half a character: not ours to repeat
        entries.append([template, output])
    now = int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp())
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in entries)
    sys.stdout.write('{"now": %d, "variables": %s, "snippets": [\n%s\n]}\n' % (now, json.dumps(VARIABLES), lines))


if __name__ == "__main__":
    main()

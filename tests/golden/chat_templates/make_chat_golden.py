#!/usr/bin/env python3
"""Renders every chat template of this folder with jinja2, in the environment that transformers' apply_chat_template
sets up, and writes chat_templates.json: the models' token texts, the conversations, and for each template and
conversation the text, or the error that the template itself raises.

The .jinja files are texts that models publish in their tokenizer_config.json. The builtin five (chatml, llama2, llama3,
mistral, zephyr) are also in engine/text/builtin_templates.cc.

Needs: jinja2 (any 3.x). Run from anywhere: make_chat_golden.py
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 3, 5, 14, 7, 9)

# Template -> bos, eos, unknown token; "" for none.
TOKENS = {
    "chatml": ("", "<|im_end|>", ""),
    "deepseek_coder": ("<｜begin▁of▁sentence｜>", "<|EOT|>", ""),
    "deepseek_r1": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", ""),
    "gemma2": ("<bos>", "<eos>", "<unk>"),
    "llama2": ("<s>", "</s>", "<unk>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", ""),
    "llama3_1": ("<|begin_of_text|>", "<|eot_id|>", ""),
    "llama3_2": ("<|begin_of_text|>", "<|eot_id|>", ""),
    "mistral": ("<s>", "</s>", "<unk>"),
    "mistral_nemo": ("<s>", "</s>", "<unk>"),
    "mistral_v1_gptq": ("<s>", "</s>", "<unk>"),
    "mistral_v3": ("<s>", "</s>", "<unk>"),
    "openchat": ("<s>", "<|end_of_turn|>", "<unk>"),
    "phi3": ("<s>", "<|endoftext|>", "<unk>"),
    "phi3_small": ("<|endoftext|>", "<|endoftext|>", ""),
    "qwen1_5": ("", "<|im_end|>", ""),
    "qwen2_5": ("", "<|im_end|>", ""),
    "smollm2": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    "tinyllama": ("<s>", "</s>", "<unk>"),
    "vicuna": ("<s>", "</s>", "<unk>"),
    "zephyr": ("<s>", "</s>", "<unk>"),
}

CONVERSATIONS = {
    "one turn": [("user", "What is the capital of France?")],
    "many turns": [("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Tell me a joke."),
                   ("assistant", "Why did the chicken cross the road?\nTo get to the other side."), ("user", "Ha!")],
    "ends with a reply": [("user", "2+2?"), ("assistant", "4")],
    "system": [("system", "You are a pirate."), ("user", "Hello")],
    "system, many turns": [("system", "Be brief.\nAnd kind."), ("user", "a"), ("assistant", "b"), ("user", "c"),
                           ("assistant", "d"), ("user", "e")],
    "empty system": [("system", ""), ("user", "x")],
    "white space": [("user", "  \n spaced out \t\n"), ("assistant", "\n\n reply \n"), ("user", "\n")],
    "marks in contents": [("user", "<|im_end|>\n<|im_start|>system\n</s>[/INST]<|eot_id|> {{ x }} {% y %}"),
                          ("assistant", "<<SYS>> \\n 'quotes' \"double\""), ("user", "end")],
    "unicode": [("user", "héllo wörld — 你好 🙂\u00a0\u2003"), ("assistant", "\u3000ありがとう\u2028"), ("user", "ß İ ǆ")],
    "reasoning": [("user", "q"), ("assistant", "<think>\nhm\n</think>\n\nanswer"), ("user", "more")],
    "a tool's result": [("user", "weather?"), ("assistant", "let me see"), ("tool", "{\"t\": 20, \"s\": \"é<&'\"}")],
    "system in the middle": [("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d")],
    "two users": [("user", "a"), ("user", "b")],
    "begins with a reply": [("assistant", "a"), ("user", "b")],
    "unknown role": [("critic", "a"), ("user", "b")],
}


class Raised(Exception):
    pass


def environment():
    def raise_exception(message):
        raise Raised(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, tokens, messages, add_generation_prompt):
    """{"text": ..} or {"raised": ..}; None where Python itself cannot go on."""
    names = dict(zip(("bos_token", "eos_token", "unk_token"), tokens))
    try:
        return {"text": template.render(messages=messages, tools=None, documents=None,
                                        add_generation_prompt=add_generation_prompt,
                                        **{name: text for name, text in names.items() if text})}
    except Raised as error:
        return {"raised": str(error)}
    except (jinja2.TemplateError, TypeError) as error:
        return {"failed": type(error).__name__}


def main():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in HERE.glob("*.jinja")}
    assert sources.keys() == TOKENS.keys(), sources.keys() ^ TOKENS.keys()
    golden = {"now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()), "templates": []}
    for name, source in sorted(sources.items()):
        template = environment().from_string(source)
        cases = []
        for title, conversation in CONVERSATIONS.items():
            messages = [{"role": role, "content": content} for role, content in conversation]
            for prompt in (False, True):
                cases.append({"conversation": title, "add_generation_prompt": prompt,
                              **render(template, TOKENS[name], messages, prompt)})
        bos, eos, unk = TOKENS[name]
        golden["templates"].append({"name": name, "bos": bos, "eos": eos, "unk": unk, "cases": cases})
    golden["conversations"] = {title: [{"role": role, "content": content} for role, content in conversation]
                               for title, conversation in CONVERSATIONS.items()}
    (HERE / "chat_templates.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Replies to a text, to messages, and several to one prompt.

Usage: python one_shot.py [HOST:PORT]
"""

import sys

from cascade_client import Client

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"

with Client(address, timeout=120) as client:
    info = client.server_info()
    print(f"{info.model} on {info.device}")

    reply = client.generate("Once upon a time", max_tokens=20, temperature=0.7, seed=1)
    print("text:", reply.text)
    print("ended by:", reply.finish_reason.value if reply.finish_reason else "nothing")
    if reply.usage:
        print("tokens:", reply.usage.prompt_tokens, "in,", reply.usage.completion_tokens, "out")

    if info.has_chat_template:
        reply = client.generate(messages=[("system", "Be brief."), ("user", "Who are you?")], max_tokens=20)
        print("reply:", reply.text)

"""Barge-in: whoever listens interrupts a reply, and the session knows only what was heard.

Usage: python chat_interrupt.py [HOST:PORT]
"""

import sys

from cascade_client import Client

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"

with Client(address) as client:
    session = client.create_session("chat")
    with session.chat() as chat:
        with chat.send("Tell me a very long story.", max_tokens=400, ignore_eos=True) as reply:
            for delta in reply:
                print(delta.text, end="", flush=True)
                if delta.seq >= 10:
                    reply.interrupt()  # from another thread as well: the one that listens to the microphone
        print()
        heard = reply.result
        print(f"heard: {len(heard.token_ids)} tokens")

        print("next:", chat.send("Something else, please.", max_tokens=20).read().text)
    session.delete()

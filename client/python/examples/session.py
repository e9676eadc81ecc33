"""A conversation that the server remembers: only what is new is sent. It branches, and takes a turn back.

Usage: python session.py [HOST:PORT]
"""

import sys

from cascade_client import Client

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"

with Client(address, timeout=120) as client:
    session = client.create_session("example")
    print("first:", session.send("My name is Ada.", max_tokens=20).text)

    # Streams; leaving the `with` early would end the reply and keep what was said until then.
    with session.send("What is my name?", stream=True, max_tokens=20) as stream:
        for delta in stream:
            print(delta.text, end="", flush=True)
    print()

    # A branch goes its own way from here.
    branch = session.fork("example-branch")
    print("branch:", branch.send("Say it backwards.", max_tokens=20).text)

    # As if the question about the name had never been.
    info = session.rewind(turns=1)
    print("turns left:", info.turns)
    print("again:", session.send("Guess my age.", max_tokens=20).text)

    held = next(iter(session.inspect(layers=[0], kv_heads=[0])))
    print(f"tokens seen: {held.position}, held: {len(held.token_indices)}")

    branch.delete()
    session.delete()

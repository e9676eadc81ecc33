"""A reply as it is made; Ctrl-C ends it, on the server too.

Usage: python streaming.py [HOST:PORT]
"""

import sys

from cascade_client import Client

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"

with Client(address) as client:
    with client.stream("Once upon a time", max_tokens=60, temperature=0.7) as stream:
        try:
            for delta in stream:
                print(delta.text, end="", flush=True)
        except KeyboardInterrupt:
            pass
    print()
    print("tokens:", len(stream.result.token_ids))

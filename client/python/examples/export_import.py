"""A session as a file: a backup, or the way to another server with the same key and model. The server needs --data-dir.

Usage: python export_import.py [HOST:PORT]
"""

import os
import sys
import tempfile

from cascade_client import Client

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"

with Client(address, timeout=120) as client, tempfile.TemporaryDirectory() as folder:
    session = client.create_session("original")
    session.send("Remember the number 42.", max_tokens=20)

    path = os.path.join(folder, "session.cascade")
    print("bytes:", session.export(path))

    copy = client.import_session(path, label="copy")
    assert copy.info().digest == session.info().digest  # the same tokens
    replies = [each.send("Which number?", max_tokens=20, temperature=0).text for each in (session, copy)]
    print("both go on alike:", replies[0] == replies[1])

    copy.delete()
    session.delete()

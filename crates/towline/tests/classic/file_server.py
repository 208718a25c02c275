"""file_server.py ADDRESS NAME SIZE CONTENT [close|hold]: sends a header with NAME and SIZE and then
CONTENT, whether that fits or not, to everybody; `hold` keeps the connections open."""

import json
import sys

import wire

_, address, name, size, content, end = sys.argv
listener = wire.listen(address)
held = []
while True:
    sock, _ = listener.accept()
    header = json.dumps({"file_name": name, "file_size": int(size)}).encode("utf-8")
    sock.sendall(wire.block(header) + content.encode("utf-8"))
    if end == "hold":
        held.append(sock)
    else:
        sock.close()

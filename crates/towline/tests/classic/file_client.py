"""file_client.py ADDRESS FILE: receives a file as FILE and prints its header."""

import json
import sys

import wire

sock = wire.connect(sys.argv[1])
header = json.loads(wire.recv_block(sock, 9))
with open(sys.argv[2], "wb") as file:
    left = header["file_size"]
    while left > 0:
        part = sock.recv(min(left, 65536))
        if not part:
            sys.exit("%d bytes are missing" % left)
        file.write(part)
        left -= len(part)
if sock.recv(1):
    sys.exit("there is more than was announced")
print(json.dumps(header))

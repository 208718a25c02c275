"""cmd_server.py ADDRESS [LENGTH]: runs the commands of one client after the other. With LENGTH it
announces an answer of that many bytes instead, sends two of them, and closes."""

import struct
import subprocess
import sys

import wire

listener = wire.listen(sys.argv[1])
while True:
    sock, _ = listener.accept()
    try:
        while True:
            command = wire.recv_block(sock).decode("utf-8")
            if len(sys.argv) > 2:
                sock.sendall(struct.pack("<q", int(sys.argv[2])) + b"ab")
                break
            done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, capture_output=True)
            answer = done.stdout + done.stderr
            sock.sendall(struct.pack("<q", len(answer)))
            sock.sendall(answer)
    except (EOFError, ConnectionError):
        pass
    sock.close()

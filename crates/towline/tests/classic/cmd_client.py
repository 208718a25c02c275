"""cmd_client.py ADDRESS together|bytewise|split PIECE: sends each line of stdin as a command (empty
ones too) and writes the answers to stdout, reading PIECE bytes at a time."""

import socket
import sys

import wire

address, manner, piece = sys.argv[1], sys.argv[2], int(sys.argv[3])
sock = wire.connect(address)
if sock.family != socket.AF_UNIX:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for line in sys.stdin.buffer:
    request = wire.block(line.rstrip(b"\n"))
    if manner == "together":
        sock.sendall(request)
    elif manner == "split":
        sock.sendall(request[:8])
        sock.sendall(request[8:])
    else:
        for byte in request:
            sock.sendall(bytes([byte]))
    sys.stdout.buffer.write(wire.recv_block(sock, piece))

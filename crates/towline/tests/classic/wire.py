"""The classic wire format, written from its description: an 8-byte length, then so many bytes."""

import socket
import struct


def _family(address):
    if address.startswith("unix:"):
        return socket.AF_UNIX, address[len("unix:"):]
    host, port = address.rsplit(":", 1)
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    return socket.AF_INET, (host, int(port))


def connect(address):
    family, target = _family(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.connect(target)
    return sock


def listen(address):
    """Listens and prints the address, with the port that was given to it."""
    family, target = _family(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(target)
    sock.listen(5)
    if family == socket.AF_INET:
        address = "%s:%d" % sock.getsockname()[:2]
    elif family == socket.AF_INET6:
        address = "[%s]:%d" % sock.getsockname()[:2]
    print(address, flush=True)
    return sock


def recv_exactly(sock, length, piece=65536):
    """Exactly `length` bytes, asked for in pieces of at most `piece`."""
    parts = []
    while length > 0:
        part = sock.recv(min(length, piece))
        if not part:
            raise EOFError("%d bytes are missing" % length)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def recv_block(sock, piece=65536):
    (length,) = struct.unpack("<q", recv_exactly(sock, 8, piece))
    return recv_exactly(sock, length, piece)


def block(payload):
    return struct.pack("<q", len(payload)) + payload

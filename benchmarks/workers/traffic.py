"""The bytes that a process sends and receives, as the system counts them (Linux)."""

import os
import socket
import struct
import time
from collections.abc import Iterator

import psutil

# Of `struct tcp_info` in linux/tcp.h: tcpi_bytes_acked and tcpi_bytes_received.
BYTES = struct.Struct("=QQ")
OFFSET = 120
# Seconds without a byte after which all has arrived that a step has sent.
SETTLED = 0.05


class Traffic:
    """The bytes over all TCP connections that this process has had.

    The system forgets the bytes of a connection when it closes, and a runtime opens and
    closes connections as it likes: what each had carried is remembered here.
    """

    def __init__(self) -> None:
        self._carried: dict[int, int] = {}

    def bytes(self) -> int:
        """Sent and received so far."""
        self._carried.update(_connections())
        return sum(self._carried.values())

    def settled(self) -> int:
        """The same when the other ends have acknowledged what was sent to them."""
        before, now = -1, self.bytes()
        while now != before:
            time.sleep(SETTLED)
            before, now = now, self.bytes()
        return now


def _connections() -> Iterator[tuple[int, int]]:
    """The inode of each open connection, which no other one gets, and its bytes."""
    for each in psutil.Process().net_connections("tcp"):
        try:
            with socket.socket(fileno=os.dup(each.fd)) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                inode = os.fstat(connection.fileno()).st_ino
        except OSError:  # It was closed meanwhile.
            continue
        yield inode, sum(BYTES.unpack_from(info, OFFSET))

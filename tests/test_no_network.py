"""The tests themselves stay on this machine."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_connection_to_another_machine_is_refused(address: str) -> None:
    """Before a packet leaves; the addresses are reserved for documentation (RFC 5737, 3849)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as one, pytest.raises(OSError, match="must not connect"):
        one.connect((address, 80))


def test_names_of_other_machines_are_not_looked_up() -> None:
    """Not even asked for."""
    with pytest.raises(socket.gaierror, match="must not look up"):
        socket.getaddrinfo("nomad-lab.eu", 443)


def test_this_machine_can_be_reached() -> None:
    """Servers of the tests live on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()

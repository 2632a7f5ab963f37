import socket
from pathlib import Path


def ask(line):
    with socket.create_connection(("127.0.0.1", 7070), timeout=5) as connection:
        connection.sendall(f"{line}\n".encode())
        return connection.makefile().readline().strip()


steps = [step for step in ask("history").split("; ") if not step.startswith("balance")]
assert sorted(steps[:2]) == ["open anna", "open ben"], steps
assert sorted(steps[2:4]) == ["deposit anna 120", "deposit ben 30"], steps
assert steps[4:] == ["transfer anna ben 45"], steps
assert ask("balance anna") == "75"
assert ask("balance ben") == "75"
assert Path("/app/balances.txt").read_text().split() == ["anna", "75", "ben", "75"]

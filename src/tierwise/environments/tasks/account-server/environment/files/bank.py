"""Accounts in memory: one command a connection."""
import socketserver

accounts, steps = {}, []


def answer(command, *words):
    match command, words:
        case "open", (name,):
            if name in accounts:
                return "error: exists"
            accounts[name] = 0
        case "deposit", (name, amount):
            accounts[name] += int(amount)
        case "transfer", (source, target, amount):
            if accounts[source] < int(amount):
                return "error: too little"
            accounts[source] -= int(amount)
            accounts[target] += int(amount)
        case "balance", (name,):
            steps.append(f"balance {name}")
            return str(accounts[name])
        case "history", ():
            return "; ".join(steps)
        case _:
            return "error: unknown command"
    steps.append(" ".join((command, *words)))
    return "ok"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        words = self.rfile.readline().decode().split()
        if words:
            try:
                said = answer(*words)
            except (KeyError, ValueError) as error:
                said = f"error: {error!r}"
            self.wfile.write(f"{said}\n".encode())


socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("127.0.0.1", 7070), Handler).serve_forever()

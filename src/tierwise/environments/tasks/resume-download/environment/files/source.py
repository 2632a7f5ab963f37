"""Sends a file in pieces: each connection ends after at most 30,000 bytes."""
import http.server
from pathlib import Path

DATA = bytes(byte ^ 0x5A for byte in Path("/app/.content").read_bytes())
SENT = Path("/app/sent.txt")
MOST = 30_000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/file":
            self.send_error(404)
            return
        said = self.headers.get("Range", "bytes=0-")
        first = min(int(said.removeprefix("bytes=").split("-")[0]), len(DATA))
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(DATA) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(DATA) - 1}/{len(DATA)}")
        self.end_headers()
        piece = DATA[first : first + MOST]
        sent = int(SENT.read_text()) if SENT.exists() else 0
        SENT.write_text(str(sent + len(piece)))
        self.wfile.write(piece)


http.server.HTTPServer(("127.0.0.1", 7171), Handler).serve_forever()

import json
import time
import urllib.request

def get(path):
    for _ in range(20):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:8123{path}", timeout=5).read()
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("nothing answers on port 8123")

assert json.loads(get("/status.json")) == {"ready": True}
assert get("/index.html") == b"<h1>It works</h1>\n"

from pathlib import Path

from data import requests

Path("/app/access.log").write_text("".join(
    f'{address} - - [12/Mar/2025:10:00:{number % 60:02} +0000] "GET {path} HTTP/1.1" {status} {size or "-"} "-" "curl 8"\n'
    for number, (address, status, size, path) in enumerate(requests())
))

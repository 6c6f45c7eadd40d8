"""A download is whole and unaltered, or an error that names the address."""

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
    """A server on this machine, reached directly."""
    monkeypatch.setenv("no_proxy", "*")
    with loopback() as served:
        yield served


def refused(*urls: str) -> StorageError:
    """The error that ends a download from these addresses."""
    with pytest.raises(StorageError) as caught:
        download(urls, len(BODY), SHA256, lambda _: None)
    assert caught.value.exit_code == 74
    assert caught.value.message.startswith(f"cannot download {urls[0]}: ")
    assert caught.value.hint
    return caught.value


def test_a_good_file_comes_back(web: Loopback) -> None:
    """All its bytes, with progress that grows to the full size."""
    url = web.serve("/file", BODY)
    progress: list[int] = []
    assert download([url], len(BODY), SHA256, progress.append) == BODY
    assert progress == sorted(set(progress))
    assert progress[-1] == len(BODY)


def test_a_length_need_not_be_announced(web: Loopback) -> None:
    """A server that only closes the connection at the end is served as well."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)

    assert download([web.answer("/file", answer)], len(BODY), SHA256, lambda _: None) == BODY


def test_the_program_gives_its_own_name(web: Loopback) -> None:
    """Some hosts refuse Python's."""
    agents: list[str | None] = []

    def answer(handler: Handler) -> None:
        agents.append(handler.headers["User-Agent"])
        handler.send_error(404)

    refused(web.answer("/file", answer))
    assert agents == ["charnn"]


def test_an_altered_file_is_refused(web: Loopback) -> None:
    """One flipped bit is enough."""
    altered = bytes([BODY[0] ^ 1]) + BODY[1:]
    error = refused(web.serve("/file", altered))
    assert error.message.endswith("it is not the file that was expected (SHA-256 differs)")


def test_another_size_is_refused_at_once(web: Loopback) -> None:
    """By what the server announces, before the body is read."""
    error = refused(web.serve("/file", b"<html>please log in</html>"))
    assert error.message.endswith("it has 26 bytes, not 256,000")


def test_a_cut_transfer_is_refused(web: Loopback) -> None:
    """The connection closes before the announced end."""
    refused(web.serve("/file", BODY[:100_000], announced=len(BODY)))


def test_an_endless_answer_is_stopped(web: Loopback) -> None:
    """Reading ends at the size on the card, whatever else the server sends."""
    sent = 0

    def answer(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(BODY)
            sent += len(BODY)

    error = refused(web.answer("/file", answer))
    assert error.message.endswith("it goes on after 256,000 bytes")
    assert sent < 100 * len(BODY)


def test_a_missing_file_is_named(web: Loopback) -> None:
    """The status of the answer is in the message."""
    assert refused(f"{web.address}/file").message.endswith("/file: HTTP 404 Not Found")


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/file", "http://example.invalid/file", "http://[", "/"],
)
def test_a_redirect_leads_to_safe_addresses_only(web: Loopback, target: str) -> None:
    """Not to a local file, not to plain http elsewhere, not round in circles."""
    refused(web.redirect("/", target))


def test_a_redirect_on_the_way_is_followed(web: Loopback) -> None:
    """As code hosts use them."""
    web.serve("/there", BODY)
    url = web.redirect("/here", "/there")
    assert download([url], len(BODY), SHA256, lambda _: None) == BODY


def test_the_next_address_is_tried(web: Loopback) -> None:
    """A mirror that is gone, or has another file, does not end the download."""
    urls = [f"{web.address}/gone", web.serve("/other", b"x"), web.serve("/file", BODY)]
    assert download(urls, len(BODY), SHA256, lambda _: None) == BODY
    assert web.asked == ["/gone", "/other", "/file"]


def test_every_failure_is_told(web: Loopback) -> None:
    """The message has each address with its reason."""
    message = refused(f"{web.address}/gone", web.serve("/other", b"x")).message
    assert "/gone: HTTP 404" in message
    assert "/other: it has 1 bytes" in message


def test_no_server(web: Loopback) -> None:
    """Offline, or nobody there: the address and the reason."""
    assert "refused" in refused("http://127.0.0.1:1/file").message


def test_a_silent_server(web: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a time."""
    monkeypatch.setattr("charnn.data.download.TIMEOUT", 0.1)
    message = refused(web.answer("/file", lambda _: time.sleep(0.5))).message
    assert message.endswith("timed out")


def test_nonsense_from_a_server(web: Loopback) -> None:
    """What is not HTTP is an error like any other."""
    refused(web.answer("/file", lambda handler: handler.wfile.write(b"\0" * 100 + b"\r\n\r\n")))


@pytest.mark.parametrize("url", ["https://example.org/a", "http://localhost:8/a", "http://[::1]/"])
def test_safe_addresses(url: str) -> None:
    """https anywhere, http on this machine."""
    assert safe_url(url) == url


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///a", "ftp://a/b", "a.txt", ""])
def test_unsafe_addresses(url: str) -> None:
    """Everything else."""
    with pytest.raises(ValueError, match="is not an https address"):
        safe_url(url)

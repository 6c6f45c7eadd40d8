"""A web server on this machine that answers as a test tells it to, well or badly."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@dataclass
class Loopback:
    """Answers by path, and the paths asked for so far."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def serve(self, path: str, body: bytes, *, announced: int | None = None) -> str:
        """Answer `path` with `body`, announcing its length or another; the URL back."""
        length = len(body) if announced is None else announced

        def answer(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(length))
            handler.end_headers()
            handler.wfile.write(body)

        return self.answer(path, answer)

    def redirect(self, path: str, target: str) -> str:
        """Send whoever asks for `path` to `target`; the URL back."""

        def answer(handler: Handler) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()

        return self.answer(path, answer)

    def answer(self, path: str, answer: Answer) -> str:
        """Answer `path` in a way of the test's own; the URL back."""
        self.answers[path] = answer
        return self.address + path


@contextlib.contextmanager
def loopback() -> Iterator[Loopback]:
    """A server that runs as long as the block."""

    class Answering(Handler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            answer = served.answers.get(self.path)
            if answer is None:
                self.send_error(404)
                return
            with contextlib.suppress(ConnectionError):  # the client may hang up on bad answers
                answer(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    served = Loopback(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

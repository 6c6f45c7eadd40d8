"""A web server on localhost with responses defined by the test."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@dataclass
class Loopback:
    """The responses by path, and the paths requested so far."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def serve(self, path: str, body: bytes, *, announced: int | None = None) -> str:
        """Respond to `path` with `body`, with its length or another one; return the URL."""
        length = len(body) if announced is None else announced

        def answer(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(length))
            handler.end_headers()
            handler.wfile.write(body)

        return self.answer(path, answer)

    def redirect(self, path: str, target: str) -> str:
        """Redirect `path` to `target`; return the URL."""

        def answer(handler: Handler) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()

        return self.answer(path, answer)

    def answer(self, path: str, answer: Answer) -> str:
        """Respond to `path` with a function; return the URL."""
        self.answers[path] = answer
        return self.address + path


@contextlib.contextmanager
def loopback() -> Iterator[Loopback]:
    """Run a server in the block."""

    class Answering(Handler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            answer = served.answers.get(self.path)
            if answer is None:
                self.send_error(404)
                return
            with contextlib.suppress(ConnectionError):  # the client may close the connection
                answer(self)

        def log_message(self, *_: object) -> None:
            """Do not log."""

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

"""Concurrent input and output: handlers that wait, wait together, as many as there are workers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from routilux import Flow, Routine

PAGE_COUNT = 40
WORKER_COUNT = 20
SERVER_DELAY = 0.2


class Fetch(Routine):
    """Waits for one page of the server at `port`."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("page", handler=self.fetch)

    def fetch(self, port: int, path: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        self.send_output("page", path=path, status=response.status, size=len(body))


class Crawl(Routine):
    """Asks for all the pages at once; `emit` never waits for a handler."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.crawl)
        self.define_event("page", ["port", "path"])

    def crawl(self, port: int, count: int) -> None:
        for number in range(1, count + 1):
            self.emit("page", port=port, path=f"/page/{number}")


def main() -> None:
    with slow_server() as port, Flow("crawl", "concurrent", max_workers=WORKER_COUNT) as flow:
        flow.add_routine(Crawl(), "crawl")
        flow.add_routine(Fetch(), "fetch")
        flow.connect("crawl", "page", "fetch", "page")

        started_at = time.monotonic()
        job_state = flow.run("crawl", {"port": port, "count": PAGE_COUNT})
        seconds = time.monotonic() - started_at

    pages = [output["data"] for output in job_state.outputs("page")]
    together = PAGE_COUNT * SERVER_DELAY
    print(f"The run is {job_state.status}.")
    print(f"{len(pages)} pages, {sum(page['status'] == 200 for page in pages)} of them in good order")
    print(f"{sum(page['size'] for page in pages)} bytes")
    print(f"One after the other they take {together:.1f} seconds.")
    print(f"The run took less than half of that: {seconds < together / 2}")


class SlowPages(BaseHTTPRequestHandler):
    """Thinks for a while and answers with the path that it was asked for."""

    def do_GET(self) -> None:
        time.sleep(SERVER_DELAY)
        body = f"This is {self.path}.".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep standard error for trouble."""


class Server(ThreadingHTTPServer):
    request_queue_size = 2 * WORKER_COUNT  # the default of 5 would turn bursts of connections away


@contextmanager
def slow_server() -> Iterator[int]:
    """Run the server for the length of the block, on a free port of this machine: this one."""
    with Server(("127.0.0.1", 0), SlowPages) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()

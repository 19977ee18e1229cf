"""Async handlers: a crawler that awaits many pages at once, and at most two of each host."""

import asyncio

from routilux import Flow, Routine

LINKS = {"/": ["/a", "/b", "/c"], "/a": ["/d", "/e"], "/b": ["/f"], "/c": ["/"], "/d": [], "/e": [], "/f": []}
AT_ONCE = 2


class Host:
    """A web server on loopback. It notes how many requests it had at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.at_work = self.most = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        path = (await reader.readline()).decode().split()[1]
        await asyncio.sleep(0.01)
        writer.write(" ".join(LINKS[path]).encode())
        self.at_work -= 1
        writer.close()
        await writer.wait_closed()


class Frontier(Routine):
    """Passes on each page that was not seen in this run. It is sequential by its one lock: the shared data's."""

    def __init__(self, hosts: list[str]) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.find)
        self.define_slot("found", handler=self.find)
        for host in hosts:
            self.define_event(host)

    def find(self, host: str, paths: list[str]) -> None:
        job_state = self.get_execution_context().job_state
        for path in paths:
            seen = job_state.modify_shared_data(f"{host}{path}", lambda count: (count or 0) + 1)
            if seen == 1:
                self.emit(host, path=path)


class Fetch(Routine):
    """Fetches the pages of one host."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
        self.define_slot("page", handler=self.fetch)
        self.define_event("found")
        self.set_limits(max_concurrency=AT_ONCE, attempt_timeout=10.0)

    async def fetch(self, path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.host.port)
        writer.write(f"GET {path}\n".encode())
        paths = (await reader.read()).decode().split()
        writer.close()
        await writer.wait_closed()
        self.send_output("page", url=f"{self.host.name}{path}")
        self.emit("found", host=self.host.name, paths=paths)


async def main() -> None:
    hosts = [Host("red"), Host("blue")]
    servers = [await host.serve() for host in hosts]
    with Flow("crawler", "concurrent", max_workers=2) as flow:
        flow.add_routine(Frontier([host.name for host in hosts]), "frontier")
        for host in hosts:
            flow.add_routine(Fetch(host), host.name)
            flow.connect("frontier", host.name, host.name, "page")
            flow.connect(host.name, "found", "frontier", "found")
        for host in hosts:
            job_state = await flow.run_async("frontier", {"host": host.name, "paths": ["/"]})
            urls = sorted(output["data"]["url"] for output in job_state.outputs())
            print(job_state.status, *urls)
    for host, server in zip(hosts, servers, strict=True):
        server.close()
        await server.wait_closed()
        print(f"{host.name}: never more than {AT_ONCE} at once: {0 < host.most <= AT_ONCE}")


if __name__ == "__main__":
    asyncio.run(main())

"""Async streaming: an agent streams its tokens to the caller while its tools are still at work."""

import asyncio
import threading

from routilux import Flow, Routine

# The tools end when the caller has heard all of them: were the tokens kept back, nobody would ever answer.
TOKENS = ["Let", "me", "look", "that", "up."]


class Agent(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.think)
        self.define_slot("result", handler=self.answer, merge_strategy="append")
        self.define_event("call")

    async def think(self, question: str) -> None:
        for tool in ("weather", "calendar"):
            self.emit("call", tool=tool, question=question)
        for token in TOKENS:
            await asyncio.sleep(0)  # a model that streams
            self.send_output("token", text=token)

    async def answer(self, result: list[str]) -> None:
        if len(result) == 2:
            self.send_output("answer", text=" and ".join(sorted(result)))


class Tool(Routine):
    def __init__(self, all_heard: threading.Event) -> None:
        super().__init__()
        self.all_heard = all_heard
        self.define_slot("input", handler=self.use)
        self.define_event("result")

    async def use(self, tool: str, question: str) -> None:
        await asyncio.to_thread(self.all_heard.wait, 10)  # a service that takes its time
        self.emit("result", result=f"{tool}: fine")


async def main() -> None:
    heard, all_heard = 0, threading.Event()
    with Flow("agent", "concurrent") as flow:
        flow.add_routine(Agent(), "agent")
        flow.add_routine(Tool(all_heard), "tool")
        flow.connect("agent", "call", "tool", "input")
        flow.connect("tool", "result", "agent", "result")
        async for item in flow.astream("agent", {"question": "Shall we go out?"}):
            if not isinstance(item, dict):
                continue
            if item["output_type"] == "token":
                heard += 1
                print("token:", item["data"]["text"])
                if heard == len(TOKENS):
                    all_heard.set()
            else:
                print("answer:", item["data"]["text"])


if __name__ == "__main__":
    asyncio.run(main())

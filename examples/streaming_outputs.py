"""Streaming: `flow.stream` is a loop over what a run does, while the run is still doing it."""

from threading import Event as Signal

from routilux import ExecutionRecord, Flow, Routine

# The reader of the stream sets it and the speaker waits for it: were the outputs kept back until
# the end, the two would wait for each other.
first_word_seen = Signal()


class Storyteller(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.begin)
        self.define_event("story", ["text"])

    def begin(self, text: str) -> None:
        self.emit("story", text=text)


class Speaker(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("story", handler=self.speak)

    def speak(self, text: str) -> None:
        for number, word in enumerate(text.split(), start=1):
            self.send_output("word", text=word, number=number)
            if not first_word_seen.wait(timeout=10):
                raise TimeoutError("nobody is listening")


def main() -> None:
    first_word_seen.clear()
    with Flow("streaming") as flow:
        flow.add_routine(Storyteller(), "storyteller")
        flow.add_routine(Speaker(), "speaker")
        flow.connect("storyteller", "story", "speaker", "story")

        for item in flow.stream("storyteller", {"text": "once upon a time"}):
            if isinstance(item, ExecutionRecord):
                print(f"[{item.routine_id}: {item.event_name}]")
            else:
                print(f"  {item['data']['number']}. {item['data']['text']}")
                first_word_seen.set()


if __name__ == "__main__":
    main()

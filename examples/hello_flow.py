"""The smallest flow: one routine speaks, the other one listens."""

from routilux import Flow, Routine


class Greeter(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.greet)
        self.define_event("greeting", ["text"])

    def greet(self, name: str) -> None:
        self.emit("greeting", text=f"Hello, {name}!")


class Printer(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("input", handler=self.show)

    def show(self, text: str) -> None:
        print(text)


def main() -> None:
    with Flow("hello") as flow:
        flow.add_routine(Greeter(), "greeter")
        flow.add_routine(Printer(), "printer")
        flow.connect("greeter", "greeting", "printer", "input")

        job_state = flow.run("greeter", {"name": "world"})

    print(f"The run is {job_state.status}.")


if __name__ == "__main__":
    main()

"""Gathering: what a run delivers to an "append" slot piles up; the next run starts with nothing."""

from routilux import Flow, Routine


class Thermometer(Routine):
    """Emits once per reading: several emits in one execute are one run, gathered together."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.report)
        self.define_event("reading", ["celsius"])

    def report(self, readings: list[float]) -> None:
        for celsius in readings:
            self.emit("reading", celsius=celsius)


class Average(Routine):
    """Is called once per reading, each time with all the readings of this run so far."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("reading", handler=self.average, merge_strategy="append")

    def average(self, celsius: list[float]) -> None:
        mean = sum(celsius) / len(celsius)
        self.send_output("average", count=len(celsius), mean=mean)


def main() -> None:
    with Flow("aggregation") as flow:
        flow.add_routine(Thermometer(), "thermometer")
        flow.add_routine(Average(), "average")
        flow.connect("thermometer", "reading", "average", "reading")

        for day, readings in {"Monday": [12.0, 15.0, 18.0], "Tuesday": [9.0, 10.0]}.items():
            job_state = flow.run("thermometer", {"readings": readings})

            print(day)
            for output in job_state.outputs("average"):
                print("  after {count}: {mean:.1f} degrees on average".format(**output["data"]))


if __name__ == "__main__":
    main()

"""The four error strategies side by side: what becomes of the run, the routine, its neighbour."""

from routilux import ErrorHandler, ErrorStrategy, Flow, JobState, Routine


class Shop(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.sell)
        self.define_event("order", ["item"])

    def sell(self, item: str) -> None:
        self.emit("order", item=item)


class Payment(Routine):
    """A service that is down for the first two attempts, and up for the third."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("order", handler=self.charge)

    def charge(self, item: str) -> None:
        context = self.get_execution_context()
        if context is not None and context.attempt < 3:
            raise ConnectionError(f"no answer to attempt {context.attempt}")
        self.send_output("done", what="paid", item=item)


class Parcel(Routine):
    """The neighbour: it gets the same order, next in line, and never fails."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("order", handler=self.pack)

    def pack(self, item: str) -> None:
        self.send_output("done", what="packed", item=item)


def sell_one_book(strategy: ErrorStrategy) -> JobState:
    """Return the finished run of one order, with the payment under this strategy."""
    payment = Payment()
    payment.set_error_handler(ErrorHandler(strategy, max_retries=3, retry_delay=0.01))

    with Flow("shop") as flow:
        flow.add_routine(Shop(), "shop")
        flow.add_routine(payment, "payment")
        flow.add_routine(Parcel(), "parcel")
        flow.connect("shop", "order", "payment", "order")
        flow.connect("shop", "order", "parcel", "order")
        return flow.run("shop", {"item": "book"})


def main() -> None:
    row = "{:<9} {:<10} {:<16} {:<8} {}".format
    print(row("strategy", "run", "payment", "retries", "done"))
    for strategy in ErrorStrategy:
        job_state = sell_one_book(strategy)
        payment = job_state.get_routine_state("payment") or {}
        done = sorted(output["data"]["what"] for output in job_state.outputs("done"))
        print(
            row(
                strategy.value,
                job_state.status,
                payment["status"],
                payment.get("retry_count", 0),
                ", ".join(done) or "nothing",
            )
        )


if __name__ == "__main__":
    main()

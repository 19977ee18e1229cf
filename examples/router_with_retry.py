"""A router and a target that fails: the way is chosen once, and only the target is tried again."""

from routilux import ErrorHandler, Flow, Routine
from routilux.builtin_routines import ConditionalRouter


class Shop(Routine):
    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.sell)
        self.define_event("order", ["data"])

    def sell(self, amounts: list[int]) -> None:
        for amount in amounts:
            self.emit("order", data={"amount": amount})


class Till(Routine):
    """Takes any amount at once."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("order", handler=self.pay)

    def pay(self, order: dict[str, int]) -> None:
        self.send_output("paid", text=f"{order['amount']} at the till")


class Bank(Routine):
    """Is down for the first two attempts, and up for the third."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("order", handler=self.pay)

    def pay(self, order: dict[str, int]) -> None:
        context = self.get_execution_context()
        attempt = context.attempt if context is not None else 1
        if attempt < 3:
            raise ConnectionError(f"no answer to attempt {attempt}")
        self.send_output("paid", text=f"{order['amount']} at the bank, attempt {attempt}")


def main() -> None:
    router, bank = ConditionalRouter(), Bank()
    router.set_config(routes=[("large", "data['amount'] > 100")], default_route="small")
    bank.set_error_handler(ErrorHandler("retry", max_retries=3, retry_delay=0.01))

    with Flow("payments") as flow:
        flow.add_routine(Shop(), "shop")
        flow.add_routine(router, "router")
        flow.add_routine(Till(), "till")
        flow.add_routine(bank, "bank")
        flow.connect("shop", "order", "router", "input")
        flow.connect("router", "small", "till", "order", {"data": "order"})
        flow.connect("router", "large", "bank", "order", {"data": "order"})
        job_state = flow.run("shop", {"amounts": [40, 400]})

    chosen = [record.event_name for record in job_state.get_execution_history("router") if record.is_emission]
    print(f"The run is {job_state.status}.")
    print(f"The router chose {len(chosen)} times: {', '.join(chosen)}.")
    for error in job_state.errors:
        print(f"Error of the {error.routine_id}: {error.data['error']}")
    for output in job_state.outputs("paid"):
        print("Paid:", output["data"]["text"])


if __name__ == "__main__":
    main()

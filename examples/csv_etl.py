"""An ETL in one drawing: rows of CSV files are converted, checked and sent on; a bad row is kept with its reason."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from routilux import Flow, Routine
from routilux.builtin_routines import ConditionalRouter, DataTransformer, DataValidator

SALES = {
    "april.csv": "order,amount,country\n1, 12.50 ,NO\n2,eighty,NO\n3,7.25,SE\n",
    "may.csv": "order,amount,country\n4,20,IT\n5,-3,IT\n6,9.90,\n7,30,NO\n",
}


class Extract(Routine):
    """Emits each row of each CSV file in a folder."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.read)
        self.define_event("row", ["data"])

    def read(self, folder: str) -> None:
        for path in sorted(Path(folder).glob("*.csv")):
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    self.emit("row", data={"file": path.name, **row})


class Total(Routine):
    """Adds up the sales of a run, by the route that they came."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("sale", handler=self.add)

    def add(self, data: dict[str, float], route: str) -> None:
        context = self.get_execution_context()
        if context is not None:
            context.job_state.modify_shared_data(route, lambda total: total + data["amount"], default=0.0)


class Rejects(Routine):
    """Appends bad rows to the file `path` of its config."""

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("row", handler=self.keep)

    def keep(self, data: dict[str, str], errors: list[str]) -> None:
        with Path(self.get_config("path")).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([data["file"], data["order"], *errors])


def strip_values(row: dict[str, str]) -> dict[str, str]:
    return {key: value.strip() for key, value in row.items()}


def read_amount(row: dict[str, str]) -> dict[str, object]:
    return {**row, "amount": float(row["amount"])}


def draw_flow(rejects: Path) -> Flow:
    convert, check, route, keep = DataTransformer(), DataValidator(), ConditionalRouter(), Rejects()
    # A transformation that fails leaves the row as it is: an amount that is no number stays text, and is found below.
    convert.set_config(transformations=[strip_values, read_amount])
    check.set_config(rules={"amount": "is_positive", "country": "not_empty"})
    route.set_config(routes=[("home", "data['country'] == config['home']")], default_route="abroad", home="NO")
    keep.set_config(path=str(rejects))

    flow = Flow("etl")
    flow.add_routine(Extract(), "extract")
    flow.add_routine(convert, "convert")
    flow.add_routine(check, "check")
    flow.add_routine(route, "route")
    flow.add_routine(Total(), "total")
    flow.add_routine(keep, "rejects")

    flow.connect("extract", "row", "convert", "input")
    flow.connect("convert", "output", "check", "input", {"transformed_data": "data"})
    flow.connect("check", "valid", "route", "input", {"validated_data": "data"})
    flow.connect("check", "invalid", "rejects", "row")
    flow.connect("route", "home", "total", "sale")
    flow.connect("route", "abroad", "total", "sale")
    return flow


def main() -> None:
    with TemporaryDirectory() as name:
        folder, rejects = Path(name), Path(name, "rejects.txt")
        for file_name, text in SALES.items():
            (folder / file_name).write_text(text, encoding="utf-8")

        with draw_flow(rejects) as flow:
            job_state = flow.run("extract", {"folder": name})

        print(f"The run is {job_state.status}.")
        for route in ("home", "abroad"):
            print(f"{route:<8}{job_state.get_shared_data(route):>6.2f}")
        print("Rejected:")
        print(rejects.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()

"""What of the comparison with other libraries can be known without them: made-up peers stand in."""

import ast
import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.peers import KEEPERS, PEERS, SHAPES, Peer, environments, keeping, runner
from tests.benchmarks.peers.environments import EnvironmentNotMadeError
from tests.benchmarks.peers.programs import Program, ProgramFailedError, our_program

FIVE_HOPS = [5, 15]
FIVE_KEPT = [5, 15, 5_000]
KEPT = "routilux_sqlite.py"
PROGRAM = """
import json, sys
if sys.argv[1:]:
    print(json.dumps({{"result": {result}, "seconds": [60.0] * int(sys.argv[3]), "version": "{version}"}}))
"""


def made_up(name: str = "made-up") -> Peer:
    return Peer(name, f"{name}==1.0", shapes=("chain",), sizes={"chain": (5,)}, lacks={"fan-out": "it is shy"})


def program(folder: Path, source: str) -> Program:
    file = folder / f"program{len(list(folder.iterdir()))}.py"
    file.write_text(source, encoding="utf-8")
    return Program((sys.executable, "-I"), file, {})


def honest(folder: Path) -> Program:
    return program(folder, PROGRAM.format(result=FIVE_HOPS, version="1.0"))


@pytest.mark.parametrize("peer", [*PEERS, *KEEPERS], ids=lambda peer: peer.name)
def test_a_program_imports_only_the_library_that_it_is_about(peer: Peer) -> None:
    compile(peer.file.read_text(encoding="utf-8"), peer.file, "exec")
    imported = Program((), peer.file, {}).imports
    assert imported
    roots = {line.split()[1].partition(".")[0] for line in imported.splitlines()}
    assert len(roots) == 1
    assert not roots & {"routilux", "tests"}


@pytest.mark.parametrize("peer", PEERS, ids=[peer.name for peer in PEERS])
def test_a_peer_does_what_it_is_said_to_do_and_says_why_it_does_not_do_the_rest(peer: Peer) -> None:
    assert set(cases_of(peer.file)) == set(peer.shapes)
    assert set(peer.shapes) | set(peer.lacks) >= {"chain", "fan-out", "trivial-run", "many-runs"}
    assert not set(peer.shapes) & set(peer.lacks)
    assert peer.version[0].isdigit()


def test_the_clock_is_the_same_for_everybody() -> None:
    clocks = {file_part(file, "main") for file in [our_program().file, *(peer.file for peer in PEERS)]}
    assert len(clocks) == 1


def test_everybody_who_keeps_a_chain_has_the_same_clock_and_does_it_in_memory_too() -> None:
    files = [our_program(KEPT).file, *(peer.file for peer in KEEPERS)]
    assert len({file_part(file, "main") for file in files}) == 1
    assert all(set(cases_of(peer.file)) == set(peer.shapes) == {"in-memory", "sync"} for peer in KEEPERS)


@pytest.mark.parametrize("case", ["in-memory", "group", "sync"])
def test_our_own_kept_chain_is_read_back_as_arithmetic_says(case: str) -> None:
    reading = our_program(KEPT).read(case, 5, 1)
    assert reading.result == FIVE_KEPT
    assert (reading.stored_bytes > 5_000) == (case != "in-memory")


@pytest.mark.slow  # some fifteen processes
def test_what_keeping_costs_is_told_for_each_level_of_ours_and_for_peers_that_come_to_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"bad": [5, 14, 5_000], "good": FIVE_KEPT}
    costs, (failure,) = keeping.run(
        [made_up("bad"), made_up("good")],
        1,
        lambda peer: program(tmp_path, PROGRAM.format(result=sources[peer.name], version="1.0")),
        steps=5,
    )
    assert [(cost.library.split()[0], cost.level) for cost in costs] == [
        ("routilux", "group"),
        ("routilux", "sync"),
        ("good", "sync"),
    ]
    assert all(cost.stored_bytes > 5_000 for cost in costs[:2])
    assert costs[-1].more == [0.0]
    assert (failure.library, "not the same work" in failure.reason) == ("bad 1.0", True)
    assert "FAILED: result [5, 14, 5000]" in capsys.readouterr().out


def test_a_chain_that_is_kept_may_be_asked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def kept(peers: list[Peer], *_: object) -> tuple[list[keeping.Cost], list[keeping.Failure]]:
        asked.extend(peer.name for peer in peers)
        return [keeping.Cost("it 1.0", "sync", 400, ((0.5, 0.1),), 7)], []

    monkeypatch.setattr(keeping, "run", kept)
    file = tmp_path / "figures.json"
    assert command.main(["--peers", "--only", "kept-chain", "--json", str(file)]) == 0
    assert asked == [peer.name for peer in KEEPERS]
    (cost,) = json.loads(file.read_text(encoding="utf-8"))["kept"]["costs"]
    assert (cost["bytes"], cost["us_more"]) == (7, pytest.approx(1_000.0))


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ("chain", FIVE_HOPS),
        ("chain-of-nodes", FIVE_HOPS),
        ("fan-out", [5, 10]),
        ("trivial-run", [5, 10]),
        ("many-runs", [5, 20]),
    ],
)
def test_our_own_program_comes_to_what_arithmetic_says(shape: str, result: list[int]) -> None:
    reading = our_program().read(shape, 5, 2)
    assert reading.result == result
    assert reading.seconds > 0


def test_our_own_program_does_every_shape() -> None:
    assert set(cases_of(our_program().file)) == {shape.name for shape in SHAPES}


def test_a_peer_that_comes_to_the_same_is_compared_pair_by_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,), (lack,) = runner.run([made_up()], 2, ["chain", "fan-out"], lambda peer: honest(tmp_path))
    assert len(found.pairs) == 2
    assert found.theirs == pytest.approx(12e6)
    assert found.ratio > 1
    assert not lack.is_failure
    chain, fan_out = capsys.readouterr().out.splitlines()[-2:]
    assert "made-up 1.0" in chain
    assert "not expressible: it is shy" in fan_out


def test_what_is_imported_is_what_the_program_imports_beside_the_standard_library(tmp_path: Path) -> None:
    known = program(tmp_path, "import json\nfrom routilux import Flow\nimport serilux\n")
    assert known.imports == "from routilux import Flow\nimport serilux"
    unknown = program(tmp_path, "from nobody.knows import it\n")
    with pytest.raises(ProgramFailedError, match="No module named 'nobody'"):
        unknown.import_seconds()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (PROGRAM.format(result=[5, 14], version="1.0"), "result [5, 14] instead of [5, 15]"),
        (PROGRAM.format(result=FIVE_HOPS, version="0.9"), "version 0.9 instead of 1.0"),
        ("raise SystemExit('no such thing')", "no such thing"),
        ("print('hello')", "no reading"),
    ],
    ids=["wrong result", "other release", "crash", "chatter"],
)
def test_a_peer_that_fails_is_told_in_one_line_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, reason: str
) -> None:
    programs = {"bad": program(tmp_path, source), "good": honest(tmp_path)}
    comparisons, (failure,) = runner.run(
        [made_up("bad"), made_up("good")], 1, ["chain"], lambda peer: programs[peer.name]
    )
    assert [found.peer.name for found in comparisons] == ["good"]
    assert failure.is_failure
    assert reason in failure.reason
    bad, good = capsys.readouterr().out.splitlines()[-2:]
    assert f"FAILED: {failure.reason}" in bad
    assert "us/hop" not in bad
    assert "us/hop" in good


def test_the_exit_status_and_the_file_tell_of_a_peer_that_could_not_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program_of(peer: Peer) -> Program:
        if peer.name == "bad":
            raise ProgramFailedError("no such release")
        return honest(tmp_path)

    monkeypatch.setattr(command, "PEERS", (made_up("bad"), made_up("good")))
    monkeypatch.setattr(command, "peer_program", program_of)
    file = tmp_path / "figures.json"
    asked = ["--only", "chain", "--pairs", "1", "--json", str(file)]
    assert command.main(["--peers", "good", *asked]) == 0
    assert command.main(["--peers", *asked]) == 1
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [figures["peer"] for figures in found["comparisons"]] == ["good==1.0"]
    assert [(lack["peer"], lack["reason"]) for lack in found["without_figures"]] == [("bad==1.0", "no such release")]


def test_an_unknown_peer_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--peers", "langgraf"])
    assert "langgraph" in capsys.readouterr().err


def test_an_environment_that_is_there_is_used_without_asking_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    environment = tmp_path / f"made-up-1.0-{version}"
    environment.mkdir()
    (environment / "installed.txt").write_text("made-up==1.0\n", encoding="utf-8")
    assert environment in environments.interpreter(made_up(), tmp_path).parents


def test_half_an_environment_is_made_again_and_nothing_stays_of_one_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    (tmp_path / f"made-up-1.0-{version}").mkdir()
    with pytest.raises(EnvironmentNotMadeError, match="no-python"):
        environments.interpreter(made_up(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_pip_cannot_install_is_told_with_its_reason(tmp_path: Path) -> None:
    # A path that leads nowhere is refused without a network.
    with pytest.raises(EnvironmentNotMadeError, match=r"ERROR.*nowhere"):
        environments.interpreter(Peer("made-up", "./nowhere==1.0"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def cases_of(file: Path) -> list[str]:
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "CASES":
            assert isinstance(statement.value, ast.Dict)
            return [ast.literal_eval(key) for key in statement.value.keys if key is not None]
    raise AssertionError(f"{file.name} has no CASES")


def file_part(file: Path, name: str) -> str:
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return ast.unparse(statement)
    raise AssertionError(f"{file.name} has no {name}")

"""The README's two commands are what a newcomer types, so they are what CI runs."""

import shutil
import subprocess
from pathlib import Path

from tests.docs.markdown_pages import ROOT, read_page

CI = ROOT / ".ci" / "run"


def run_ci_beside(readme: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs CI in a folder that has nothing but this README."""
    (folder / ".ci").mkdir()
    shutil.copy(CI, folder / ".ci" / "run")
    (folder / "README.md").write_text(readme, encoding="utf-8")
    command = ["bash", str(folder / ".ci" / "run")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_readme_has_exactly_two_commands_the_program_first_and_then_the_tests() -> None:
    page = read_page(ROOT / "README.md", "README.md")
    commands = [block.marker for block in page.blocks if block.language == "bash"]
    assert commands == ["<!-- command: run -->", "<!-- command: test -->"]


def test_ci_runs_the_text_of_both_commands_and_stops_where_one_fails(tmp_path: Path) -> None:
    readme = (
        "```bash\necho unmarked >> ran\n```\n\n"
        "<!-- command: run -->\n```bash\necho run >> ran\n```\n\n"
        "<!-- command: test -->\n\n```bash\necho test >> ran\nfalse\necho too late >> ran\n```\n"
    )
    ended = run_ci_beside(readme, tmp_path)
    assert (tmp_path / "ran").read_text(encoding="utf-8") == "run\ntest\n"
    assert ended.returncode == 1
    assert "FAILED: README, second command" in ended.stdout


def test_ci_fails_where_the_readme_has_no_test_command(tmp_path: Path) -> None:
    readme = "<!-- command: run -->\n```bash\ntrue\n```\n\n<!-- command: test -->\nText.\n\n```bash\ntrue\n```\n"
    ended = run_ci_beside(readme, tmp_path)
    assert ended.returncode == 1
    assert "no bash block below <!-- command: test -->" in ended.stderr

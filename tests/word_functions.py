"""Functions of an application that become routines; imported by child processes, too."""

from collections.abc import Iterator

from routilux import ErrorHandler, Flow
from routilux.functions import routine

__all__ = ["draw_words", "keep", "measure", "words"]


@routine
def words(text: str) -> Iterator[str]:
    """Each word of a text."""
    yield from text.split()


@routine(error_handler=ErrorHandler("retry", max_retries=1, retry_delay=0))
def measure(word: str) -> dict[str, object]:
    """A word and its length."""
    return {"word": word, "length": len(word)}


def keep(word: str, length: int) -> None:
    """Send what was measured to whoever started the run."""
    kept = keeper.get_execution_context()
    assert kept is not None
    kept.job_state.append_to_shared_log({"timestamp": "-", "word": word, "length": length})


keeper = routine(keep)


def draw_words() -> Flow:
    """The flow: words, measured and kept."""
    flow = Flow("words")
    flow.chain(words, measure, keeper)
    return flow

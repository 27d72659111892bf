"""A class of thirty through spellcheck and nlp on a served platform with two workers: time, words a second, memory."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from _essays import WORDS, essays
from _figures import duration, rate, times, told
from _server import served

from huleedu.contracts.phase import Language, PhaseContext, PhaseName
from huleedu.phases import worker

CLASS = 30
SAMPLE_S = 0.5


def pure(texts: list[str]) -> float:
    """Return how long both phases take on these texts in this process, one after another, with all loaded."""
    worker.preload()
    context = PhaseContext(language=Language.EN).model_dump_json()
    started = time.perf_counter()
    for text in texts:
        checked, _ = worker.perform(PhaseName.SPELLCHECK.value, text, context, {})
        worker.perform(PhaseName.NLP.value, text, context, {PhaseName.SPELLCHECK: checked})
    return time.perf_counter() - started


@contextmanager
def sampled(measure: Callable[[], float]) -> Iterator[list[float]]:
    """Measure again and again while the block runs."""
    over, values = threading.Event(), [measure()]

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            values.append(measure())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield values
    finally:
        over.set()
        sampler.join()


def settled(measure: Callable[[], float]) -> float:
    """Return the memory of servers that nobody uses, once their dictionaries are loaded: when it grows no more."""
    before, now = 0.0, measure()
    while abs(now - before) > 1:
        time.sleep(2 * SAMPLE_S)
        before, now = now, measure()
    return now


def main() -> None:
    alone = pure(essays(CLASS))
    with served() as server:
        idle = settled(server.pss)
        teacher = server.teacher("anna")
        with sampled(server.pss) as memory:
            first = teacher.assess(essays(CLASS))
            later = teacher.assess(essays(CLASS, seed=2))
    baseline = "the algorithms alone, one process"
    duration("30 essays, first after the start", first, (baseline, alone), "target: 15 s")
    duration("30 essays, a later class", later, (baseline, alone))
    words = CLASS * WORDS
    rate("words checked", words / later, "words/s", (baseline, words / alone))
    told("memory of all processes, idle", f"{idle:.0f} MB PSS")
    told(
        "memory of all processes, busy",
        f"{max(memory):.0f} MB PSS",
        f"{times(max(memory) / idle)} of idle",
        "target: 450",
    )


if __name__ == "__main__":
    main()

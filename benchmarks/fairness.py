"""Twenty essays behind five hundred: how much longer they take than alone, for another teacher and for the same one."""

from statistics import median

from _essays import essays
from _figures import duration, told
from _server import Teacher, served

LARGE, SMALL = 500, 20


def decided(teacher: Teacher, batch_id: str) -> int:
    """Return how many essays of a batch a phase is done with; all phases counted."""
    phases = teacher.status(batch_id)["pipeline_state"]["phases"].values()
    counts = [phase["essay_counts"] for phase in phases]
    return sum(count["total"] - count["pending_dispatch_or_processing"] for count in counts)


def main() -> None:
    with served() as server:
        anna, bo = server.teacher("anna"), server.teacher("bo")
        bo.assess(essays(SMALL, seed=2))  # so that everything is loaded
        alone = median(bo.assess(essays(SMALL, seed)) for seed in (6, 7, 8))
        large = anna.upload(essays(LARGE))
        anna.start(large)
        for seed, teacher, whose in ((4, bo, "another teacher's"), (5, anna, "the same teacher's")):
            before = decided(anna, large)
            taken = teacher.assess(essays(SMALL, seed))
            done = f"of the 500 done meanwhile: {decided(anna, large) - before}"
            duration(f"20 essays behind {whose} 500", taken, ("alone", alone), "target: x1.5", done)
        told("the 500 by then", anna.status(large)["status"])


if __name__ == "__main__":
    main()

"""How a figure is printed: beside the baseline that was measured in the same run."""

from collections.abc import Sequence


def told(what: str, figure: str, *more: str) -> None:
    """Print one figure, with what else belongs to it."""
    beside = f"  ({'; '.join(more)})" if more else ""
    print(f"{what:<44}{figure:>18}{beside}", flush=True)


def rate(what: str, figure: float, unit: str, baseline: tuple[str, float], *more: str) -> None:
    """Print a rate, where more is better: the ratio says how many times the baseline it is."""
    name, other = baseline
    told(what, f"{figure:,.0f} {unit}", f"{name}: {other:,.0f}", times(figure / other), *more)


def duration(what: str, seconds: float, baseline: tuple[str, float], *more: str) -> None:
    """Print a duration, where less is better: the ratio says how many times the baseline's it is."""
    name, other = baseline
    told(what, time(seconds), f"{name}: {time(other)}", times(seconds / other), *more)


def times(ratio: float) -> str:
    return f"x{ratio:.1f}" if ratio >= 1 else f"x{ratio:.2f}"


def time(seconds: float) -> str:
    if seconds < 0.0001:
        return f"{seconds * 1_000_000:.0f} us"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]

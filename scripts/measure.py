"""Print the shape of the code in a few figures: places to read, not a score."""

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src/huleedu", ROOT / "tests"
SETTINGS, RUNNER = SOURCE / "platform/settings.py", SOURCE / "platform/log/runner.py"
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCK = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith)
BROAD = {"Exception", "BaseException"}


def walk(paths: Iterable[Path]) -> list[ast.AST]:
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]


def lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n") if path.is_file() else 0


def percentile(values: Iterable[int], share: float) -> int:
    ordered = sorted(values) or [0]
    return ordered[int((len(ordered) - 1) * share)]


def depth(node: ast.AST, level: int = 0) -> int:
    """How many blocks stand around the innermost statement."""
    inner = level + isinstance(node, BLOCK)
    return max([inner, *(depth(child, inner) for child in ast.iter_child_nodes(node))])


def functions(paths: Iterable[Path]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in walk(paths) if isinstance(node, FUNCTION)]


def settings() -> int:
    """The fields of `class Settings`."""
    classes = [node for node in walk([SETTINGS]) if isinstance(node, ast.ClassDef) and node.name == "Settings"]
    return sum(isinstance(field, ast.AnnAssign) for settings_class in classes for field in settings_class.body)


def broad(paths: Iterable[Path]) -> int:
    handlers = [node for node in walk(paths) if isinstance(node, ast.ExceptHandler)]
    return sum(node.type is None or ast.unparse(node.type) in BROAD for node in handlers)


def figures() -> dict[str, float]:
    source, tests = sorted(SOURCE.rglob("*.py")), sorted(TESTS.rglob("*.py"))
    source_lines, test_lines = sum(map(lines, source)), sum(map(lines, tests))
    written, cases = functions(source), [node for node in functions(tests) if node.name.startswith("test_")]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in written]
    return {
        "src/huleedu, lines": source_lines,
        "tests, lines": test_lines,
        "tests : source": test_lines / max(source_lines, 1),
        "lines per test": test_lines / max(len(cases), 1),
        "function lines, p90": percentile(lengths, 0.9),
        "functions over 60 lines, %": 100 * sum(length > 60 for length in lengths) / max(len(lengths), 1),
        "nesting, p90": percentile((max(map(depth, node.body)) for node in written), 0.9),
        "module lines, p90": percentile(map(lines, source), 0.9),
        "module lines, most": max(map(lines, source), default=0),
        "broad except per 1,000 lines": 1000 * broad(source) / max(source_lines, 1),
        "runner, lines": lines(RUNNER),
        "settings": settings() if SETTINGS.is_file() else 0,
    }


if __name__ == "__main__":
    for name, figure in figures().items():
        print(f"{name:32}{figure:10.2f}".removesuffix(".00"))

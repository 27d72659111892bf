"""What the limits of the processes that read files are for, and mutants of good files, of which none gets further."""

import asyncio
import os
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from huleedu.contracts.essay import RefusalHint
from huleedu.files.extract import OUTPUT_CAP, extract
from huleedu.files.handlers import EXTRACTION_SECONDS
from huleedu.files.service import EXTRACTION_MIB
from huleedu.files.unreadable import Unreadable
from huleedu.platform.workers import WorkerDied, Workers, WorkerTimeout
from tests import corpus
from tests.service.held import extract_within

EXAMPLES = int(os.environ.get("FUZZ", "150"))
"""So many mutants of each kind; more by `FUZZ=5000 pytest tests/service/test_hostile.py`, which then are others."""
FIXED = "FUZZ" not in os.environ
LIMITS = (WorkerDied, WorkerTimeout, MemoryError)
"""What a PDF may run into: PDFium ends its process rather than raise. Our own readers raise Unreadable in time."""


class Reader:
    """Reads files as the service does, in limited children of its own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._run = runner.run
        self._workers = Workers(count=1, memory_mib=EXTRACTION_MIB)
        self._run(self._workers.start())

    def read(self, data: bytes, name: str, seconds: float) -> str:
        return self._run(self._workers.run(extract, data, name, timeout_s=seconds))

    def told(self, data: bytes, name: str) -> str:
        """The text, or what a teacher is told instead; the time is the processor's, whatever else the machine does."""
        try:
            return self._run(self._workers.run(extract_within, EXTRACTION_SECONDS, data, name, timeout_s=50))
        except Unreadable as refused:
            event(refused.hint or refused.code)
            return refused.detail

    def pid(self) -> int:
        return self._run(self._workers.run(os.getpid, timeout_s=50))

    def close(self) -> None:
        self._run(self._workers.aclose())


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with asyncio.Runner() as runner:
        reader = Reader(runner)
        yield reader
        reader.close()


@pytest.mark.parametrize(
    ("data", "seconds", "ends"),
    [
        (corpus.many_streams(), 50.0, WorkerDied),  # PDFium ends the process that has no memory left
        (corpus.many_pages(), 0.5, WorkerTimeout),
    ],
    ids=["memory", "time"],
)
def test_what_asks_for_too_much_costs_one_process_and_the_next_file_is_read(
    reader: Reader, data: bytes, seconds: float, ends: type[Exception]
) -> None:
    before = reader.pid()
    with pytest.raises(ends):
        reader.read(data, "essay.pdf", seconds)
    assert reader.read(corpus.pdf(corpus.column("My dog is old.")), "a.pdf", 50) == "My dog is old."
    assert reader.pid() != before


async def test_a_part_of_an_archive_that_lies_about_its_size_is_not_inflated() -> None:
    flat = corpus.zipped({"word/document.xml": corpus.document(corpus.paragraph("a" * 64 * corpus.MIB))})
    workers = Workers(count=1, memory_mib=32)
    await workers.start()
    with pytest.raises(Unreadable) as refused:
        await workers.run(extract, corpus.restated(flat, "word/document.xml", 900_000), "a", timeout_s=50)
    await workers.aclose()
    assert refused.value.hint is RefusalHint.DAMAGED


# -- mutants


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice([data[:end], data[start:], data[:start] + data[end:]])


def spliced(data: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    other = chance.choice(WHOLE)
    at = chance.randrange(len(other))
    return data[:start] + other[at : at + chance.randrange(2_000)] * chance.choice([1, 1, 50]) + data[end:]


def numbered(data: bytes, chance: random.Random) -> bytes:
    """Other numbers, and words of the same file in the place of others: what the objects of a PDF are made of."""
    odd = [
        b"0",
        b"-1",
        b"1",
        b"2",
        b"4",
        b"65536",
        b"2147483648",
        b"99999999999999999999",
        b"1e9",
        b"[",
        b"<<",
        b"null",
    ]
    words = re.findall(rb"[\w/]+", data)

    def other(found: re.Match[bytes]) -> bytes:
        return found[0] if chance.randrange(12) else chance.choice([*odd, chance.choice(words)])

    return re.sub(rb"[\w/]+", other, data)


def tagged(markup: bytes, chance: random.Random) -> bytes:
    """Tags in the place of others, rarely very many, or one very long."""
    tags = re.findall(rb"<[^>]*>", markup)
    odd = [b"<w:t>", b"</w:p>", b"<mc:Fallback>", b"&lt;", b"\0", *tags]
    large = [b"<w:p>" * 20_000, b"<w:p " + b"a" * 100_000 + b"='1'>"]

    def other(found: re.Match[bytes]) -> bytes:
        return found[0] if chance.randrange(12) else chance.choice(odd if chance.randrange(300) else large)

    return re.sub(rb"<[^>]*>", other, markup)


def renamed(markup: bytes, chance: random.Random) -> bytes:
    """Elements of one name under that of another, which leaves the markup well-formed."""
    names = sorted(set(re.findall(rb"</?([\w:]+)", markup)))
    if not names:
        return markup
    old, new = re.escape(chance.choice(names)), chance.choice(names)
    return re.sub(rb"(</?)" + old + rb"(?=[\s/>])", rb"\g<1>" + new, markup)


def rezipped(data: bytes, chance: random.Random) -> bytes:
    """The same archive with one part changed, so that what is wrong is seen by who reads the part."""
    change = chance.choice([flipped, cut, spliced, tagged, renamed, renamed])
    with zipfile.ZipFile(BytesIO(data)) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice([name for name in parts if name.startswith("word/document") or name.endswith(".rels")])
    return corpus.zipped({**parts, name: change(bytes(parts[name]), chance)})  # type: ignore[arg-type]


SHAPE = corpus.run("a") + "<mc:AlternateContent><mc:Choice/><mc:Fallback/></mc:AlternateContent>"
WORDS = [corpus.written("One.", "Two."), corpus.word(f"<w:p>{SHAPE}<w:del>{SHAPE}</w:del></w:p>" * 3)]
PDFS = [
    corpus.pdf(corpus.column("My dog is old.", "It sleeps."), corpus.column("All day.")),
    corpus.locked(corpus.pdf(corpus.column("My dog.")), ""),
    corpus.forms(2, 2),
    corpus.object_streams(),
    corpus.characters(3),
    corpus.scan(),
]
WHOLE = [*WORDS, *PDFS, corpus.PROSE.encode("utf-16"), corpus.ole2("WordDocument"), corpus.laughs().encode()]
KINDS = [(WHOLE, flipped), (WHOLE, cut), (WHOLE, spliced), (PDFS, numbered), (WORDS, rezipped)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("samples", "mutant"), KINDS, ids=lambda kind: getattr(kind, "__name__", ""))
@settings(max_examples=EXAMPLES, derandomize=FIXED, database=None)
@given(seed=st.integers(0, 2**64))
def test_a_mutant_is_read_or_refused_within_the_limits_and_the_next_file_is_read(
    reader: Reader, samples: list[bytes], mutant: Callable[[bytes, random.Random], bytes], seed: int
) -> None:
    chance = random.Random(seed)
    data = chance.choice(samples)
    for _ in range(chance.choice([1, 1, 3])):
        data = mutant(data, chance) or data
    try:
        text = reader.told(data, chance.choice(["a.docx", "a.pdf", "a.txt", ""]))
    except LIMITS:
        if b"%PDF-" not in data[:1024]:
            raise
        event("limited")
        text = ""
    assert text == text.strip()
    assert len(text) <= OUTPUT_CAP
    assert not {"\0", "\r", "\x7f"} & set(text)
    assert reader.read(b"My dog is old.", "next.txt", 50) == "My dog is old."

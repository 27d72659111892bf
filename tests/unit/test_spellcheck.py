"""Spelling and grammar of one text: what is remarked, what is left alone, and that every remark is a true span."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huleedu.contracts.phase import Language, PhaseContext
from huleedu.contracts.results import Correction, CorrectionKind, SpellcheckResultV1, apply_corrections
from huleedu.phases.spellcheck import phase
from huleedu.phases.spellcheck.lexicon import lexicon
from huleedu.phases.spellcheck.rank import ranked

PIECES = (
    "teh ", "definately ", "alot ", "an house ", "the the ", "could of ", "i ", "Emma", "publik ", "KOLOUR", "dont",
    "😀", "👩\u200d👧", "\r\n", "\n\n", "a\u030a", "don’t ", "'", "\u202e", "שלום ", "\x00", "\ud800", "ﬁ", "İ", "ß",
    "co\u00adop", "self-concious ", "-", "...", "! ", ". ", "http://x.se/?a=b", "a@b.se", "1st ", "x" * 50,
)  # fmt: skip
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)


def check(text: str, language: Language = Language.EN, task: str = "", known: str = "") -> SpellcheckResultV1:
    context = PhaseContext(language=language, essay_instructions=task, known_words=tuple(known.split(",")))
    return phase.run(text, context, {})


def said(text: str, language: Language = Language.EN) -> dict[str, tuple[str, str | None]]:
    return {remark.original: (remark.rule, remark.replacement) for remark in check(text, language).corrections}


@settings(max_examples=150)
@given(TEXTS, st.sampled_from(Language))
def test_nothing_outside_the_spans_changes(text: str, language: Language) -> None:
    result = check(text, language)
    kept = pieces = ""
    end = 0
    for remark in result.corrections:
        assert remark.offset >= end
        assert text[remark.offset : remark.end] == remark.original
        kept = text[end : remark.offset]
        pieces += kept + (remark.original if remark.replacement is None else remark.replacement)
        end = remark.end
    assert result.corrected_text == pieces + text[end:]
    assert result == check(text, language)


def test_corrections_that_overlap_or_belong_to_another_text_are_refused() -> None:
    first, second = check("A tset, a tset.").corrections
    assert apply_corrections("A tset, a tset.", [first, second]) == "A test, a test."
    for text, corrections in (("A tset, a tset.", [second, first]), ("Another text.", [first])):
        with pytest.raises(ValueError, match="overlaps another or belongs"):
            apply_corrections(text, corrections)


def test_every_one_of_many_equal_mistakes_has_its_own_span() -> None:
    text = "😀 becouse 😀 becouse\r\nbecouse"
    assert [remark.offset for remark in check(text).corrections if remark.original == "becouse"] == [2, 12, 21]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("definately", "definitely"), ("intresting", "interesting"), ("wich", "which"), ("scool", "school"),
        ("fotboll", "football"), ("nigth", "night"), ("microfone", "microphone"), ("electrisity", "electricity"),
        ("english", "English"), ("dont", "don't"), ("im", "I'm"), ("alot", "a lot"), ("busdriver", "bus driver"),
        ("buyed", "bought"), ("cryed", "cried"), ("partys", "parties"), ("childs", "children"),
    ],
)  # fmt: skip
def test_what_was_meant_comes_first(typed: str, meant: str) -> None:
    assert ranked(typed, "en")[0].written == meant


@pytest.mark.parametrize(
    "text",
    [
        "The colour of my favourite theatre is grey. I realise that it travelled.",
        "The color of my favorite theater is gray. I realize that it traveled.",
        "My friends Elin Bergström and Måns from Norrköping know Åsa. Björn and Emma's dog went to Liseberg.",
        "We met Khadija, Abdirahman and Mr. Nguyen at McDonald's.",
        "Mail anna.swenson@skola.se or see www.skola.se/hjalp?x=1 and https://exampel.se/fel.",
        "The EU, NASA and SVT agree on 3D, 2nd, 5G, 15:30 and B2B.",
        "It is a well-known, duty-free café; we don’t mind, and O’Brien’s naïve co-operation isn't bad.",
        "مرحبا بكم שלום Привет 你好",
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert check(text).corrections == ()


def test_words_of_the_task_and_the_roster_are_never_wrong() -> None:
    text = "The flurb of zyblat is tuvvas idea, said Kjellgrenn."
    assert check(text, task="Write about the Flurb", known="Zyblat Tuvvas,Kjellgrenn").corrections == ()
    assert {remark.original for remark in check(text).corrections} >= {"flurb", "zyblat"}


def test_words_of_another_language_are_remarked_and_not_replaced() -> None:
    assert said("My kompis has a mobil.") == {
        "kompis": ("spelling:foreign_word", None),
        "mobil": ("spelling:foreign_word", None),
    }
    assert said("Hon är en gamer.", Language.SV) == {"gamer": ("spelling:foreign_word", None)}
    assert said("We hav fun.") == {"hav": ("spelling:misspelling", "have")}  # Swedish too, but have is what was meant


def test_rules_say_what_kind_of_mistake_it_is() -> None:
    found = said("We like kemistry and swedish. She buyed it infront of me, and its realy sad thats all.")
    rules = {original: rule.removeprefix("spelling:") for original, (rule, _) in found.items()}
    expected = {"kemistry": "foreign_habit", "swedish": "capital", "buyed": "irregular", "infront": "split"}
    assert rules.items() >= (expected | {"realy": "misspelling", "thats": "apostrophe"}).items()


def test_after_have_comes_the_participle() -> None:
    assert said("I have writed it.")["writed"][1] == "written"
    assert said("Then I writed it.")["writed"][1] == "wrote"


def test_a_proposal_has_the_capitals_and_apostrophes_of_the_text() -> None:
    assert check("Definately! DEFINATELY! We can’t, and I dont.").corrected_text == (
        "Definitely! DEFINITELY! We can’t, and I don’t."
    )


def test_only_the_wrong_part_of_a_hyphenated_word_is_remarked() -> None:
    assert said("She is self-concious.") == {"concious": ("spelling:misspelling", "conscious")}


def test_grammar_is_marked_as_harpers_and_english_only() -> None:
    (remark,) = check("It is an test.").corrections
    assert (remark.kind, remark.rule, remark.original, remark.replacement) == (
        CorrectionKind.GRAMMAR, "harper:AnA", "an", "a",
    )  # fmt: skip
    assert check("Det är an test.", Language.SV, known="an").corrections == ()


def test_mixing_british_and_american_is_one_remark() -> None:
    remarks = check("The colour and the flavour of the center are good; the theater too is colourful.").corrections
    assert [(remark.kind, remark.original, remark.replacement) for remark in remarks] == [
        (CorrectionKind.STYLE, "center", None)
    ]


def test_swedish_knows_compounds_and_finds_mistakes() -> None:
    found = said("Fotbollsplansstaketet är defenitivt konstikt, tyvär. Jag såg Black Panther i Norrtelje.", Language.SV)
    assert {original: right for original, (_, right) in found.items()} == {
        "defenitivt": "definitivt", "konstikt": "konstigt", "tyvär": "tyvärr", "Norrtelje": "Norrtälje",
    }  # fmt: skip


def test_figures_count_what_was_found() -> None:
    result = check("I buyed an publik house, realy. See www.x.se!")
    kinds = [remark.kind for remark in result.corrections]
    metrics = result.metrics
    assert metrics.word_count == 8
    assert metrics.total_corrections == len(kinds) == metrics.spelling_corrections + metrics.grammar_corrections
    assert metrics.l2_corrections == 2  # buyed and publik
    assert metrics.correction_density == 100 * len(kinds) / 8


def test_the_engine_names_what_decides_a_result() -> None:
    engine = phase.engine(Language.EN)
    assert engine == phase.engine(Language.EN) != phase.engine(Language.SV)
    assert engine.dictionaries.keys() >= {"en.dic", "en-gb.dic", "sv.dic", "en.words", "weights.json", "harper-py"}


@settings(max_examples=200)
@given(st.sampled_from(("because", "restaurant", "beautiful", "English", "cat", "I'm")), st.data())
def test_a_word_is_found_from_any_two_edits(word: str, data: st.DataObject) -> None:
    typed = word.lower()
    for _ in range(2):
        at = data.draw(st.integers(0, len(typed) - 1)) if typed else 0
        letter = data.draw(st.sampled_from(["", *string.ascii_lowercase]))
        typed = typed[:at] + letter + typed[at + data.draw(st.integers(0, 1)) :]
    assert not typed or word in {candidate.written for candidate in lexicon("en").candidates(typed)}


def test_an_overlong_or_unknown_word_is_only_remarked() -> None:
    long, unknown = check("x" * 50 + " qzxjkvbw").corrections
    assert long.replacement is None
    assert unknown.replacement is None
    assert isinstance(unknown, Correction)

from huleedu.contracts.envelope import Fact
from huleedu.contracts.measures import MEASURES, UNITS, Unit
from huleedu.contracts.phase import Language, PhaseName
from huleedu.contracts.results import NlpMetrics, SpellcheckMetrics

FIGURES: dict[PhaseName, type[Fact]] = {PhaseName.SPELLCHECK: SpellcheckMetrics, PhaseName.NLP: NlpMetrics}


def test_every_figure_of_every_phase_is_in_the_table_once() -> None:
    told = [(measure.phase, measure.name) for measure in MEASURES]
    found = {(phase, name) for phase, model in FIGURES.items() for name in model.model_fields}
    assert len(told) == len(set(told))
    assert set(told) == found - {(PhaseName.NLP, "word_count")}, "which is the spell check's"


def test_no_two_measures_look_alike_in_any_language() -> None:
    for language in Language:
        heads = [measure.head(language) for measure in MEASURES]
        assert len(set(heads)) == len(heads)
    assert set(UNITS) == set(Unit)


def test_a_count_has_no_decimals() -> None:
    assert {measure.decimals for measure in MEASURES if measure.unit is Unit.COUNT} == {0}

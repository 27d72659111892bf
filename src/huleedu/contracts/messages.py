"""The one table of messages: what is said on which topic, and by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from huleedu.contracts import batch, essay, notice, phase
from huleedu.contracts.envelope import Event, EventEnvelope


class Said(NamedTuple):
    """One row: the message, its topic, the services that say it ("*": every service), and the topic's partitions.

    As many consumers of a group share the work on a topic as it has partitions. Their number is never changed: it
    decides where a key's records are, and so their order.
    """

    message: type[Event]
    topic: str
    by: tuple[str, ...]
    partitions: int = 6


PER_ESSAY = 12
"""Partitions of topics that get a record for each essay, not for each batch."""
KEPT = timedelta(days=7)
"""How long the log keeps a record: long enough to look back at what happened last week."""


ERASERS = ("files", "lifecycle", "phases", "aggregator")
"""The services that hold something of a batch and report when an erased one is gone."""

MESSAGES: tuple[Said, ...] = (
    Said(batch.ClientBatchPipelineRequestV1, "huleedu.commands.batch.pipeline.v1", ("gateway",)),
    Said(batch.BatchPipelineCancelRequestedV1, "huleedu.commands.batch.pipeline_cancel.v1", ("gateway",)),
    Said(essay.EssayContentProvisionedV1, "huleedu.file.essay.content.provisioned.v1", ("files",), PER_ESSAY),
    Said(essay.EssayRemovedV1, "huleedu.file.essay.removed.v1", ("files",)),
    Said(essay.EssayValidationFailedV1, "huleedu.file.essay.validation.failed.v1", ("files",)),
    Said(batch.BatchStateChangedV1, "huleedu.batch.state.changed.v1", ("orchestrator",)),
    Said(phase.BatchPhaseInitiateCommandV1, "huleedu.els.batch_phase.initiate.command.v1", ("orchestrator",)),
    Said(phase.BatchPhaseCancelCommandV1, "huleedu.els.batch_phase.cancel.command.v1", ("orchestrator",)),
    Said(phase.PhaseWorkRequestedV1, "huleedu.phase.work.requested.v1", ("lifecycle",), PER_ESSAY),
    Said(phase.PhaseWorkCompletedV1, "huleedu.phase.work.completed.v1", ("phases",), PER_ESSAY),
    Said(essay.EssayPhaseChangedV1, "huleedu.essay.phase.changed.v1", ("lifecycle",), PER_ESSAY),
    Said(phase.ELSBatchPhaseOutcomeV1, "huleedu.els.batch_phase.outcome.v1", ("lifecycle",)),
    Said(batch.BatchPipelineCompletedV1, "huleedu.batch.pipeline.completed.v1", ("orchestrator",)),
    Said(batch.BatchPipelineRejectedV1, "huleedu.batch.pipeline.rejected.v1", ("orchestrator",)),
    Said(batch.BatchErasedV1, "huleedu.batch.erased.v1", ("orchestrator",)),
    Said(
        batch.BatchErasureReportedV1,
        "huleedu.batch.erasure.reported.v1",
        ERASERS,
    ),
    Said(notice.RecordParkedV1, "huleedu.platform.record.parked.v1", ("*",)),
)

TOPICS: dict[type[Event], str] = {said.message: said.topic for said in MESSAGES}
ENVELOPES: dict[str, type[EventEnvelope[Any]]] = {said.topic: EventEnvelope[said.message] for said in MESSAGES}  # type: ignore[name-defined]


def decode(topic: str, value: bytes) -> EventEnvelope[Any]:
    """Decode a record in one step into the topic's own type.

    Raises:
        pydantic.ValidationError: for bytes that are no such event.
        KeyError: for a topic nobody says anything on.
    """
    return ENVELOPES[topic].model_validate_json(value)

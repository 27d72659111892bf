"""Essays: upload and refusal, removal, and where each stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from huleedu.contracts.envelope import Event, Fact, Moment
from huleedu.contracts.phase import PhaseName
from huleedu.contracts.results import NlpResultV1, SpellcheckResultV1

MIN_CHARACTERS = 50
MAX_CHARACTERS = 50_000
MAX_FILE_BYTES = 10 * 2**20
MAX_UPLOAD_BYTES = 100 * 2**20
MAX_UPLOAD_FILES = 200
UPLOAD_SECONDS = 600.0
"""From an upload's first byte to its answer."""


class RefusalCode(StrEnum):
    """Why a file was not stored as an essay."""

    EMPTY_CONTENT = "EMPTY_CONTENT"
    INTAKE_CLOSED = "INTAKE_CLOSED"
    CONTENT_TOO_SHORT = "CONTENT_TOO_SHORT"
    CONTENT_TOO_LONG = "CONTENT_TOO_LONG"
    TEXT_EXTRACTION_FAILED = "TEXT_EXTRACTION_FAILED"
    ENCRYPTED_FILE_UNSUPPORTED = "ENCRYPTED_FILE_UNSUPPORTED"
    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    DUPLICATE = "DUPLICATE"
    TOO_LARGE = "TOO_LARGE"
    NOT_STORED = "NOT_STORED"


class RefusalHint(StrEnum):
    """What is the matter with a file, where its code alone does not tell what the teacher can do about it."""

    OLD_WORD = "OLD_WORD"
    OTHER_PROGRAM = "OTHER_PROGRAM"
    MACROS = "MACROS"
    PICTURE = "PICTURE"
    ARCHIVE = "ARCHIVE"
    NO_DOCUMENT = "NO_DOCUMENT"
    PASSWORD = "PASSWORD"  # noqa: S105 -- no password
    SCANNED = "SCANNED"
    DAMAGED = "DAMAGED"
    TOO_COMPLEX = "TOO_COMPLEX"


class EssayStatus(StrEnum):
    """Where an essay stands, over all phases of its latest run."""

    ACCEPTED = "accepted"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EssayContentProvisionedV1(Event):
    """An essay's text is stored. Names and texts are asked of files, never told in an event."""

    essay_id: str
    text_storage_id: str


class EssayValidationFailedV1(Event):
    """A file was refused; what it was called is told to whoever sent it, and kept in no view and no message."""

    code: RefusalCode


class EssayRemovedV1(Event):
    """The teacher took an essay out; whoever holds something of it lets it go."""

    essay_id: str


class EssayPhaseChangedV1(Event):
    """The lifecycle's word on one essay in one phase and run; `version` grows with every change of the essay."""

    essay_id: str
    phase: PhaseName
    run_id: str
    version: int
    status: EssayStatus
    code: str | None = None
    detail: str | None = None
    result_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class UploadItem(Fact):
    """What became of one uploaded file, in the order they were sent."""

    file_name: str
    status: Literal["stored", "refused"]
    essay_id: str | None = None
    code: RefusalCode | None = None
    hint: RefusalHint | None = None
    detail: str | None = None


class UploadOutcome(Fact):
    """What became of every file of one upload."""

    items: tuple[UploadItem, ...]


class StoredEssay(Fact):
    """An essay as files keeps it."""

    batch_id: str
    essay_id: str
    file_name: str
    text_storage_id: str
    user_id: str
    created_at: Moment


class EssayError(Fact):
    """Why an essay could not be assessed: a code for programs, a sentence for people."""

    code: str
    detail: str


class EssayView(Fact):
    """One essay as its teacher sees it in a list; `metrics` holds each phase's figures."""

    essay_id: str
    file_name: str
    status: EssayStatus
    error: EssayError | None = None
    metrics: dict[PhaseName, dict[str, float]] = Field(default_factory=dict)


class EssayResultIds(EssayView):
    """The aggregator's answer to the gateway: with the blobs that hold the text and the results."""

    text_storage_id: str
    result_ids: dict[PhaseName, str] = Field(default_factory=dict)


@with_config(ConfigDict(extra="allow"))
class EssayResults(TypedDict, total=False):
    """Each phase's result; one that is not there has not been done. A phase of a later day is let through as it is."""

    spellcheck: SpellcheckResultV1
    nlp: NlpResultV1


class EssayDetail(EssayView):
    """One essay whole: its text, the corrected text, and what the phases found."""

    text: str
    corrected_text: str | None = None
    results: EssayResults = Field(default_factory=EssayResults)

"""Files, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasedV1, BatchPipelineCompletedV1, BatchPipelineRejectedV1
from huleedu.files.handlers import GROUP, SPARE, Files, gone
from huleedu.files.routes import routes
from huleedu.platform.blobs.store import discard_expected
from huleedu.platform.blobs.sweep import Sweep
from huleedu.platform.service import Service
from huleedu.platform.workers import Workers

if TYPE_CHECKING:
    from huleedu.platform.app import Platform

PRELOAD = "huleedu.files.extract:preload"
EXTRACTION_MIB = 256


def build(platform: Platform) -> Service:
    """Wire files. Hostile files are read in bare children, which share nothing but code with anything."""
    workers = Workers(count=platform.settings.workers + SPARE, preload=PRELOAD, memory_mib=EXTRACTION_MIB)
    files = Files(platform, workers)
    sweep = Sweep(platform, GROUP, gone)
    return Service(
        name="files",
        group=GROUP,
        on={
            BatchPipelineCompletedV1: files.on_run_ended,
            BatchPipelineRejectedV1: files.on_run_ended,
            BatchErasedV1: files.on_batch_erased,
        },
        ends=BatchErasedV1,
        routes=[routes(files)],
        # In one process nobody else can be taking anything in when it starts.
        prepare=lambda tx: discard_expected(tx, GROUP),
        tasks=[sweep.sweep, sweep.remind],
        workers=workers,
    )

"""Files, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasedV1, BatchPipelineCompletedV1, BatchPipelineRejectedV1
from huleedu.files.handlers import GROUP, Files
from huleedu.files.routes import routes
from huleedu.platform.service import Service
from huleedu.platform.workers import Workers

if TYPE_CHECKING:
    from huleedu.platform.app import Platform

EXTRACTION_MIB = 256


def build(platform: Platform) -> Service:
    """Wire files. Hostile files are read in bare children, which share no memory with anything."""
    workers = Workers(count=platform.settings.workers, memory_mib=EXTRACTION_MIB)
    files = Files(platform.db, platform.blobs, workers)
    return Service(
        name="files",
        group=GROUP,
        on={
            BatchPipelineCompletedV1: files.on_pipeline_completed,
            BatchPipelineRejectedV1: files.on_pipeline_rejected,
            BatchErasedV1: files.on_batch_erased,
        },
        ends=BatchErasedV1,
        routes=[routes(files)],
        tasks=[files.sweep],
        workers=workers,
    )

"""Phases, wired."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasedV1
from huleedu.contracts.essay import EssayRemovedV1
from huleedu.contracts.phase import BatchPhaseCancelCommandV1, PhaseWorkRequestedV1
from huleedu.phases import store
from huleedu.phases.handlers import Phases, gone
from huleedu.phases.work import PATIENCE, WorkQueue
from huleedu.phases.worker import PRELOAD
from huleedu.platform.blobs import store as garbage
from huleedu.platform.blobs.sweep import Sweep
from huleedu.platform.service import Service
from huleedu.platform.workers import Workers

if TYPE_CHECKING:
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx


def build(platform: Platform) -> Service:
    """Wire phases. The workers are forked from one process that has loaded all dictionaries."""
    count = platform.settings.workers
    workers = Workers(count=count, preload=PRELOAD)
    queue = WorkQueue(platform, workers)
    phases = Phases()
    sweep = Sweep(platform, store.GROUP, gone)
    return Service(
        name="phases",
        group=store.GROUP,
        on={
            PhaseWorkRequestedV1: phases.on_work_requested,
            BatchPhaseCancelCommandV1: phases.on_cancel,
            EssayRemovedV1: phases.on_essay_removed,
            BatchErasedV1: phases.on_batch_erased,
        },
        ends=BatchErasedV1,
        queue=partial(store.waiting, patience=PATIENCE),
        prepare=_prepare,
        tasks=[*[queue.serve] * count, queue.stop_cancelled, queue.watch, sweep.sweep, sweep.remind],
        workers=workers,
        stopping=queue.stop,
    )


def _prepare(tx: Tx) -> None:
    """In one process nobody else can hold a lease when it starts, and nothing had its turn while it did not run."""
    store.return_leases(tx, expired_only=False)
    store.rearm(tx, tx.now + PATIENCE)
    garbage.discard_expected(tx, store.GROUP)

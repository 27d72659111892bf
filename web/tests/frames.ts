/** Frames and snapshots as a server would send them. */
import type { BatchClientStatus, BatchStatus, EssayStatus, EssayView } from '@/api/schema'
import type { FeedFrame } from '@/live/live'

const AT = '2026-03-01T08:00:00Z'

export function batch(id: string, seq: number, status: BatchClientStatus = 'ready'): BatchStatus {
  return {
    batch_id: id,
    language: 'en',
    status,
    pipeline_state: { batch_id: id, version: seq, status, requested_pipelines: [], last_updated: AT },
    essays: 0,
    unassessed: 0,
    version: seq,
    live_cursor: `1:${seq}`,
    created_at: AT,
    last_updated: AT,
  }
}

export function essay(id: string, status: EssayStatus = 'accepted'): EssayView {
  return { essay_id: id, file_name: `${id}.txt`, status }
}

function entry(batchId: string, seq: number) {
  return { seq, epoch: '1', batch_id: batchId, version: seq, at: AT }
}

export function batchUpdated(id: string, seq: number, status: BatchClientStatus = 'ready'): FeedFrame {
  return { ...entry(id, seq), event: 'batch_updated', data: batch(id, seq, status) }
}

export function batchDeleted(id: string, seq: number): FeedFrame {
  return { ...entry(id, seq), event: 'batch_deleted', data: { batch_id: id } }
}

export function essayUpdated(batchId: string, seq: number, view: EssayView): FeedFrame {
  return { ...entry(batchId, seq), event: 'essay_updated', data: view }
}

export function essayRemoved(batchId: string, seq: number, id: string): FeedFrame {
  return { ...entry(batchId, seq), event: 'essay_removed', data: { essay_id: id } }
}

export function rejected(batchId: string, seq: number): FeedFrame {
  const data = { run_id: 'r', code: 'NO_ESSAYS', detail: '' }
  return { ...entry(batchId, seq), event: 'batch_pipeline_rejected', data }
}

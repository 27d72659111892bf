/** The one way to the server: typed by the published interface, every error a `Problem` that the page can show. */
import createClient, { type Middleware } from 'openapi-fetch'

import type { paths, ProblemDetails, UploadOutcome } from './schema'

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(detail)
  }

  /** What was asked for is not there, or not any more: asking again is no use. */
  get gone(): boolean {
    return this.status === 404 || this.status === 410
  }
}

/** The server cannot be reached: not its answer, but that there is none. */
export const AWAY = 'AWAY'

type Ended = () => void
let onSignedOut: Ended = () => undefined

/** Say what is to happen when the server does not know us any more. */
export function whenSignedOut(act: Ended): void {
  onSignedOut = act
}

async function problem(response: Response): Promise<Problem> {
  const told = (await response.json().catch(() => ({}))) as Partial<ProblemDetails>
  if (response.status === 401) onSignedOut()
  const wait = Number(response.headers.get('retry-after'))
  return new Problem(response.status, told.code ?? 'INTERNAL_ERROR', told.detail ?? '', wait || null)
}

const raising: Middleware = {
  async onResponse({ response }) {
    if (!response.ok && response.status !== 304) throw await problem(response)
  },
  onError() {
    return new Problem(0, AWAY, '')
  },
}

export const api = createClient<paths>({ baseUrl: location.origin })
api.use(raising)

/** The answer's content. What is not an answer has been raised before. */
export async function ask<T>(asked: Promise<{ data?: T }>): Promise<T> {
  return (await asked).data as T
}

/** A key that makes a repeated request the same request. */
export function onceKey(): string {
  return crypto.randomUUID()
}

/** A file that lies beside the page. */
export async function beside(path: string): Promise<Response> {
  const response = await fetch(path).catch(() => {
    throw new Problem(0, AWAY, '')
  })
  if (!response.ok) throw await problem(response)
  return response
}

/** Upload files, telling how many bytes of them have left: the one thing that `fetch` does not tell. */
export function upload(
  batchId: string,
  files: readonly File[],
  key: string,
  left: (bytes: number) => void,
): Promise<UploadOutcome> {
  const form = new FormData()
  for (const file of files) form.append('files', file, file.name)
  const request = new XMLHttpRequest()
  request.open('POST', `/v1/batches/${batchId}/essays`)
  request.setRequestHeader('Idempotency-Key', key)
  request.upload.onprogress = (event) => {
    left(event.loaded)
  }
  return new Promise((resolve, reject) => {
    request.onerror = () => {
      reject(new Problem(0, AWAY, ''))
    }
    request.onload = () => {
      const wait = request.getResponseHeader('retry-after')
      const headers = wait ? { 'retry-after': wait } : {}
      const response = new Response(request.responseText, { status: request.status, headers })
      void (response.ok ? response.json() : problem(response).then((told) => Promise.reject(told))).then(
        resolve as (told: unknown) => void,
        reject,
      )
    }
    request.send(form)
  })
}

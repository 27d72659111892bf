/** Files on their way: cut into portions, an outcome each, and sent again without doubling. */
import { describe, expect, it } from 'vitest'

import { Problem } from '@/api/client'
import type { UploadItem, UploadOutcome } from '@/api/schema'
import { keepPage } from '@/upload/drop'
import { sizeOf } from '@/upload/size'
import { MAX_FILE_BYTES, portions, twins, useUpload, type Send, type Upload } from '@/upload/upload'

function file(name: string, bytes = 10): File {
  return new File([new Uint8Array(bytes)], name)
}

function stored(name: string): UploadItem {
  return { file_name: name, status: 'stored', essay_id: `id of ${name}` }
}

/** A server that answers as told, try by try, and remembers what it was sent. */
function server(...answers: (UploadItem[] | Problem)[]): {
  send: Send
  sent: { names: string[]; key: string }[]
} {
  const sent: { names: string[]; key: string }[] = []
  const send: Send = (_batchId, files, key, left) => {
    const names = files.map((one) => one.name)
    sent.push({ names, key })
    left(1_000_000)
    const answer = answers.shift() ?? names.map(stored)
    return answer instanceof Problem
      ? Promise.reject(answer)
      : Promise.resolve({ items: answer } satisfies UploadOutcome)
  }
  return { send, sent }
}

function states(upload: Upload): string[] {
  return upload.files.map(({ state }) => state)
}

const away = new Problem(0, 'AWAY', '')

describe('portions', () => {
  it('hold five files, or twenty megabytes, whichever is less', () => {
    const upload = useUpload()
    upload.add([...Array(6).keys()].map((n) => file(`${n}.txt`)))
    upload.add([file('a.pdf', 9e6), file('b.pdf', 9e6), file('c.pdf', 9e6)])
    const cut = portions(upload.files).map((portion) => portion.files.map((chosen) => chosen.file.name))
    expect(cut).toEqual([
      ['0.txt', '1.txt', '2.txt', '3.txt', '4.txt'],
      ['5.txt', 'a.pdf', 'b.pdf'],
      ['c.pdf'],
    ])
  })

  it('have keys of their own', () => {
    const upload = useUpload()
    upload.add([...Array(6).keys()].map((n) => file(`${n}.txt`)))
    expect(new Set(portions(upload.files).map(({ key }) => key)).size).toBe(2)
  })
})

describe('an upload', () => {
  it('tells what became of every file, in the order in which they were chosen', async () => {
    const refusal: UploadItem = {
      file_name: 'b',
      status: 'refused',
      code: 'UNSUPPORTED_TYPE',
      hint: 'OLD_WORD',
    }
    const upload = useUpload(null, server([stored('a'), refusal]).send)
    upload.add([file('a'), file('b')])
    expect(await upload.send('batch')).toEqual([stored('a'), refusal])
    expect(states(upload)).toEqual(['stored', 'refused'])
    expect(upload.bytes.value).toEqual({ left: 20, all: 20 })
  })

  it('stops where the server is away, and goes on from there under the same key', async () => {
    const { send, sent } = server(['0', '1', '2', '3', '4'].map(stored), away)
    const upload = useUpload(null, send)
    upload.add([...Array(11).keys()].map((n) => file(String(n))))
    expect(await upload.send('batch')).toBeNull()
    expect(upload.problem.value).toBe(away)
    expect(states(upload).slice(4, 6)).toEqual(['stored', 'unsure'])
    expect(states(upload)[10]).toBe('waiting')

    expect(await upload.send('batch')).toHaveLength(11)
    expect(sent.map(({ names }) => names.length)).toEqual([5, 5, 5, 1])
    expect(sent[2]).toEqual(sent[1])
    expect(upload.problem.value).toBeNull()
  })

  it('takes a text that came through at the try before for stored, and a duplicate at the first try for one', async () => {
    const there: UploadItem = { file_name: 'a', status: 'refused', code: 'DUPLICATE' }
    const upload = useUpload(null, server([there], away, [there]).send)
    upload.add([file('first')])
    await upload.send('batch')
    upload.add([file('second')])
    await upload.send('batch')
    await upload.send('batch')
    expect(states(upload)).toEqual(['refused', 'stored'])
  })

  it('that was turned away whole has stored nothing, and waits', async () => {
    const closed = new Problem(409, 'PROCESSING', '')
    const upload = useUpload(null, server(closed).send)
    upload.add([file('a')])
    await upload.send('batch')
    expect(states(upload)).toEqual(['waiting'])
    expect(await upload.send('batch')).toEqual([stored('a')])
  })

  it('does not send what is too large or cannot be read', async () => {
    const { send, sent } = server()
    const upload = useUpload(null, send)
    const moved = file('moved')
    moved.slice = () => ({ arrayBuffer: () => Promise.reject(new Error('gone')) }) as unknown as Blob
    upload.add([file('huge', MAX_FILE_BYTES + 1), moved, file('largest', MAX_FILE_BYTES)])
    const items = await upload.send('batch')
    expect(items?.map(({ code }) => code)).toEqual(['TOO_LARGE', 'NOT_READ', undefined])
    expect(sent.map(({ names }) => names)).toEqual([['largest']])
  })

  it('sends no file a second time', async () => {
    const { send, sent } = server()
    const upload = useUpload(null, send)
    upload.add([file('a')])
    await upload.send('batch')
    upload.add([file('b')])
    await upload.send('batch')
    expect(sent.map(({ names }) => names)).toEqual([['a'], ['b']])
  })

  it('does not begin anew while it is under way', async () => {
    const { send, sent } = server()
    const upload = useUpload(null, send)
    upload.add([file('a')])
    const [first, second] = await Promise.all([upload.send('batch'), upload.send('batch')])
    expect([first, second]).toEqual([[stored('a')], null])
    expect(sent).toHaveLength(1)
  })

  it('lists what is not stored once it is over, and again where its batch is opened the next time', async () => {
    const refusal: UploadItem = { file_name: 'b', status: 'refused', code: 'TEXT_EXTRACTION_FAILED' }
    const upload = useUpload(null, server([stored('a'), refusal], [stored('c')]).send)
    upload.add([file('a'), file('b')])
    expect(upload.listed.value).toHaveLength(2)
    await upload.send('mine')
    upload.add([file('c')])
    const names = (of: Upload) => of.listed.value.map((chosen) => chosen.file.name)
    expect(names(upload)).toEqual(['b', 'c'])
    await upload.send('mine')
    expect(names(upload)).toEqual(['b'])

    expect(names(useUpload('another'))).toEqual([])
    const opened = useUpload('mine')
    expect(names(opened)).toEqual(['b'])
    for (const chosen of opened.listed.value) opened.remove(chosen)
    expect(names(useUpload('mine'))).toEqual([])
  })

  it('leaves out what was taken off the list', async () => {
    const { send, sent } = server()
    const upload = useUpload(null, send)
    upload.add([file('a'), file('b')])
    const [first] = upload.files
    if (first) upload.remove(first)
    await upload.send('batch')
    expect(sent.map(({ names }) => names)).toEqual([['b']])
  })
})

describe('a list of files', () => {
  it('shows which have the name and size of one before', () => {
    const upload = useUpload()
    upload.add([file('a', 1), file('a', 1), file('a', 2), file('b', 1)])
    expect([...twins(upload.files)]).toEqual([upload.files[1]])
  })

  it.each([
    [0, 0, 'kb'],
    [1, 1, 'kb'],
    [45_600, 46, 'kb'],
    [999_499, 999, 'kb'],
    [999_500, 1, 'mb'],
    [10_485_760, 10.5, 'mb'],
  ] as const)('says the size %d as %d %s', (bytes, amount, unit) => {
    expect(sizeOf(bytes)).toEqual({ amount, unit })
  })
})

describe('a file dropped beside the place for it', () => {
  it.each([
    ['Files', true],
    ['text/plain', false],
  ])('with %s in it is kept from the browser: %s', (kind, kept) => {
    keepPage()
    for (const name of ['dragover', 'drop']) {
      const event = new Event(name, { bubbles: true, cancelable: true })
      document.body.dispatchEvent(Object.assign(event, { dataTransfer: { types: [kind] } }))
      expect(event.defaultPrevented).toBe(kept)
    }
  })
})

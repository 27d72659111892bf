/** What was dropped: its files, and whether there were folders, which a browser hands over as unreadable files. */
export function filesOf(dropped: DataTransfer): { files: File[]; folders: boolean } {
  const items = [...dropped.items].filter((item) => item.kind === 'file')
  const folders = items.filter((item) => item.webkitGetAsEntry()?.isDirectory)
  const files = items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile())
  return { files: files.filter((file) => file !== null), folders: folders.length > 0 }
}

/** A file that is dropped beside the place for it is not to be opened instead of the page, for all to see. */
export function keepPage(): void {
  const keep = (event: DragEvent) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'none'
  }
  addEventListener('dragover', keep)
  addEventListener('drop', keep)
}

/** Names that others chose, as they are safe to show: what would turn or break the line is to be seen instead. */

const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** Return the name with a mark in the place of each control character; it can look like no other name. */
export function shownName(name: string): string {
  return name.replace(UNSAFE, '\ufffd')
}

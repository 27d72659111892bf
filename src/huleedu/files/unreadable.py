"""Why a file's text could not be had, told so that a teacher can act on it."""

from huleedu.contracts.essay import MAX_CHARACTERS, RefusalCode, RefusalHint

HINTS = {
    RefusalHint.OLD_WORD: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file is in Word's old format. Open it in Word and save it as .docx.",
    ),
    RefusalHint.OTHER_PROGRAM: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file is in the format of another program. Open it there and save it as .docx or .pdf.",
    ),
    RefusalHint.MACROS: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file holds macros, which are programs. Open it in Word, save it as .docx, and upload that.",
    ),
    RefusalHint.PICTURE: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file is a picture. Upload the essay as typed text: .docx, .pdf or .txt.",
    ),
    RefusalHint.ARCHIVE: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file is a packed folder. Unpack it and upload the documents that are in it.",
    ),
    RefusalHint.NO_DOCUMENT: (
        RefusalCode.UNSUPPORTED_TYPE,
        "The file is neither plain text nor a Word or PDF document. Save the essay as .docx, .pdf or .txt.",
    ),
    RefusalHint.PASSWORD: (
        RefusalCode.ENCRYPTED_FILE_UNSUPPORTED,
        "The file has a password. Save it without the password and upload that.",
    ),
    RefusalHint.SCANNED: (
        RefusalCode.TEXT_EXTRACTION_FAILED,
        "There is no text in the file, only pictures, as from a scanner or a camera. Upload the essay as typed text.",
    ),
    RefusalHint.DAMAGED: (
        RefusalCode.TEXT_EXTRACTION_FAILED,
        "The file is damaged or not what its name says. Open it, save it again as .docx or .pdf, and upload that.",
    ),
    RefusalHint.TOO_COMPLEX: (
        RefusalCode.TEXT_EXTRACTION_FAILED,
        "The file is far larger inside than an essay. Copy the text into a new document and upload that.",
    ),
}


class Unreadable(Exception):
    """A file is refused. `detail` is a sentence or two for the teacher and never quotes the file."""

    def __init__(self, code: RefusalCode, detail: str, hint: RefusalHint | None = None) -> None:
        super().__init__(code, detail, hint)  # all, so that it comes whole out of another process
        self.code = code
        self.detail = detail
        self.hint = hint


def unreadable(hint: RefusalHint) -> Unreadable:
    """The refusal that this hint stands for."""
    return Unreadable(*HINTS[hint], hint)


def too_long() -> Unreadable:
    """The refusal of a text whose length nobody will count."""
    return Unreadable(
        RefusalCode.CONTENT_TOO_LONG, f"The text is longer than {MAX_CHARACTERS:,} characters. Split it into parts."
    )

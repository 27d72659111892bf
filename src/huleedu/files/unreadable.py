"""Why a file's text could not be had, told so that a teacher can act on it."""

from huleedu.contracts.essay import RefusalCode


class Unreadable(Exception):
    """A file is refused. `detail` is a sentence or two for the teacher and never quotes the file."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(code, detail)  # both, so that it comes whole out of another process
        self.code = code
        self.detail = detail

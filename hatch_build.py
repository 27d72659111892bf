"""Puts the spelling dictionaries and the teacher's page into the package before it is built.

They are made from npm packages by `scripts/build_dictionaries.py` and `scripts/build_page.py`, which do nothing when
they are up to date. A source distribution carries them ready made, so that building from one needs neither node nor
the packages named here.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MadeHook(BuildHookInterface[BuilderConfig]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        if self._from_sdist():
            return []
        return ["chunspell==2.0.5", "wordfreq==3.1.1"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatchling's signature
        if not self._from_sdist():
            for script in ("build_dictionaries.py", "build_page.py"):
                subprocess.run([sys.executable, Path(self.root, "scripts", script)], check=True)

    def _from_sdist(self) -> bool:
        return Path(self.root, "PKG-INFO").is_file()

from pathlib import Path

import pytest

from tests.service.laws import LAWS, Law
from tests.service.world import world_at


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: Law, tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        await law(world)

"""A page that is kept live: a snapshot, and then one reducer for each type of event in the teacher's feed."""

from collections.abc import Awaitable, Callable
from typing import Any

from huleedu.contracts.notice import FeedEvent, FeedItem, FeedPage
from tests.given import described

Shown = dict[str, dict[str, Any]]
"""By batch: its `status`, and its `essays` by id."""
Ask = Callable[..., Awaitable[Any]]
Reducer = Callable[[Shown, FeedItem], None]


def batch_updated(shown: Shown, item: FeedItem) -> None:
    shown.setdefault(item.batch_id, {"essays": {}})["status"] = _lasting(item.data)


def batch_deleted(shown: Shown, item: FeedItem) -> None:
    shown.pop(item.batch_id, None)


def essay_updated(shown: Shown, item: FeedItem) -> None:
    shown.setdefault(item.batch_id, {"essays": {}})["essays"][item.data["essay_id"]] = item.data


def essay_removed(shown: Shown, item: FeedItem) -> None:
    shown[item.batch_id]["essays"].pop(item.data["essay_id"], None)


def announced(_shown: Shown, _item: FeedItem) -> None:
    """A message for people, which changes nothing that is shown."""


REDUCERS: dict[FeedEvent, Reducer] = {
    FeedEvent.BATCH_UPDATED: batch_updated,
    FeedEvent.BATCH_DELETED: batch_deleted,
    FeedEvent.ESSAY_UPDATED: essay_updated,
    FeedEvent.ESSAY_REMOVED: essay_removed,
    FeedEvent.BATCH_PIPELINE_COMPLETED: announced,
    FeedEvent.BATCH_PIPELINE_REJECTED: announced,
    FeedEvent.ESSAY_REFUSED: announced,
}


class Page:
    """What a teacher's browser shows, and up to where in the feed."""

    def __init__(self, ask: Ask, user_id: str) -> None:
        self._ask = ask
        self._user_id = user_id
        self.cursor: str | None = None
        self.shown: Shown = {}
        self.heard: list[FeedItem] = []

    async def follow(self) -> None:
        """Apply what the feed has after the cursor; without a cursor that is good, take a snapshot."""
        params = {"after": self.cursor} if self.cursor else {}
        page = FeedPage.model_validate(
            await self._ask("aggregator", "GET", f"/users/{self._user_id}/feed", params=params)
        )
        if self.cursor is None or page.resync:
            self.shown = await self.fresh()
        for item in page.items:
            described(item.model_dump(mode="json"))
            self.hear(item)
        self.cursor = page.cursor

    def hear(self, item: FeedItem) -> None:
        """Show what this entry of the feed changes."""
        REDUCERS[item.event](self.shown, item)
        self.heard.append(item)

    async def fresh(self) -> Shown:
        """Return a snapshot."""
        listed = await self._ask("aggregator", "GET", f"/users/{self._user_id}/batches", params={"limit": 1000})
        shown: Shown = {}
        for batch in listed["items"]:
            path = f"/users/{self._user_id}/batches/{batch['batch_id']}/essays"
            essays = (await self._ask("aggregator", "GET", path))["items"]
            public = [
                {name: essay[name] for name in essay if name not in {"text_storage_id", "result_ids"}}
                for essay in essays
            ]
            shown[batch["batch_id"]] = {
                "status": _lasting(batch),
                "essays": {essay["essay_id"]: essay for essay in public},
            }
        return shown


def _lasting(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status without where in the feed it was read, and without its owner, whom clients are not told."""
    return {name: value for name, value in status.items() if name not in {"live_cursor", "user_id"}}

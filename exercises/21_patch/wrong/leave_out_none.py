# rejected by test_null_deletes_the_note: exclude_none is the same loop in one word
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str | None = None
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump(exclude_none=True))
        return watchlist

    return app

# rejected by test_what_is_absent_stays: a default looks like a value that was sent
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str | None = None
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump())
        return watchlist

    return app

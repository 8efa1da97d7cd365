# rejected by test_null_deletes_the_note: null is the default, so it is left out too
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str = ""
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump(exclude_defaults=True))
        return watchlist

    return app

# rejected by test_the_name_cannot_be_null: the type allows it
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str | None = None
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        watchlist.update(change.model_dump(exclude_unset=True))
        return watchlist

    return app

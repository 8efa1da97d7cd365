# rejected by test_the_name_cannot_be_null: who sends null is told 200
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str | None = None
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        sent = change.model_dump(exclude_unset=True)
        if sent.get("name", "") is None:
            del sent["name"]
        watchlist.update(sent)
        return watchlist

    return app

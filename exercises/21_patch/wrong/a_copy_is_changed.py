# rejected by test_what_is_sent_is_changed: the reply shows the new note, and nobody has stored it
from fastapi import FastAPI
from pydantic import BaseModel


class Change(BaseModel):
    name: str = ""
    note: str | None = None


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: Change):
        return watchlist | change.model_dump(exclude_unset=True)

    return app

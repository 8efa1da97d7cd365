from fastapi import FastAPI, HTTPException


def make_app(watchlist):
    app = FastAPI()

    @app.patch("/watchlist")
    async def change_watchlist(change: dict[str, str | None]):
        if change.get("name", "") is None or not change.keys() <= watchlist.keys():
            raise HTTPException(422, "expected a name and a note")
        watchlist.update(change)
        return watchlist

    return app

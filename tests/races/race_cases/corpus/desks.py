"""Cases that are whole FastAPI applications, and what their rules look at."""

from fastapi import FastAPI

from race_cases.corpus.cases import Case


def desks(cases):
    """Return the decorator for a function that equips a fresh application: the routes and the state."""

    def desk(truth, reason, *, requests, check, **options):
        def register(equip):
            def make():
                app = FastAPI(openapi_url=None)
                equip(app)
                return app

            cases.append(Case(equip.__name__, truth, reason, make, requests, check, options))
            return equip

        return register

    return desk


def codes(responses):
    """Return the status codes in order; a request that ended otherwise counts as 0."""
    return sorted(getattr(response, "status_code", 0) for response in responses.values())


def accepted(responses):
    """Return the names of the requests that were answered with 200."""
    return sorted(name for name, response in responses.items() if getattr(response, "status_code", 0) == 200)

"""The portfolio over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response

from reference_app.accounts.problems import AccountNotFound
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import service_of
from reference_app.patterns.problem_details import documented
from reference_app.portfolio.schemas import AccountId, PortfolioOut
from reference_app.portfolio.service import PortfolioService

router = PrefixRouter(prefix="/v1/accounts", tags=["portfolio"], responses=documented(*ACCESS_PROBLEMS))
routers = (router,)

Portfolios = Annotated[PortfolioService, service_of(PortfolioService)]
Reader = Annotated[Principal, requires("portfolio:read")]


@router.get("/{account_id}/portfolio", responses=documented(AccountNotFound))
async def value_portfolio(
    account_id: AccountId, response: Response, user: Reader, portfolios: Portfolios
) -> PortfolioOut:
    """Value an account at the prices of now; what has no price in time is said to be missing."""
    set_cache_control(response, CacheControl.PRIVATE_NO_STORE)
    return PortfolioOut.model_validate(await portfolios.portfolio(user.id, account_id))

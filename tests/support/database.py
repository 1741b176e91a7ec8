"""Streams that need a database, with a pool of two connections, on a real SQLite file."""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import QueuePool, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from sse_mw import SSEMiddleware, sse_route

FILE = os.environ["DATABASE"]
engine = create_engine(f"sqlite:///{FILE}", poolclass=QueuePool, pool_size=2, max_overflow=0, pool_timeout=1)
async_engine = create_async_engine(f"sqlite+aiosqlite:///{FILE}", pool_size=2, max_overflow=0, pool_timeout=1)
open_session = async_sessionmaker(async_engine)

with engine.begin() as connection:
    connection.execute(text("create table if not exists orders (id integer primary key, name text)"))
    connection.execute(text("insert or replace into orders values (1, 'otter')"))

api = FastAPI()


async def follow(order: str) -> AsyncIterator[str]:
    yield order
    await anyio.sleep(3600)


@api.get("/two-phase/{number}")
@sse_route
def two_phase(number: int) -> Any:
    """In a thread, with a plain session."""
    with Session(engine) as session:
        found = session.execute(text("select name from orders where id = :id"), {"id": number}).scalar()
    if found is None:
        raise HTTPException(404, "no such order")
    return follow(str(found))


@api.get("/two-phase-async/{number}")
@sse_route
async def two_phase_async(number: int) -> Any:
    async with open_session() as session:
        found = (await session.execute(text("select name from orders where id = :id"), {"id": number})).scalar()
    return follow(str(found))


async def a_session() -> AsyncIterator[AsyncSession]:
    async with open_session() as session:
        yield session


async def find(session: AsyncSession, number: int) -> str:
    return str((await session.execute(text("select name from orders where id = :id"), {"id": number})).scalar())


@api.get("/function-scope/{number}")
@sse_route
async def function_scope(number: int, session: Annotated[AsyncSession, Depends(a_session, scope="function")]) -> Any:
    """FastAPI closes a dependency of this scope when the endpoint returns, and not after the response."""
    return follow(await find(session, number))


@api.get("/in-between/{number}")
@sse_route
async def in_between(number: int) -> AsyncIterator[str]:
    """A source that opens a session for each look and gives it back before it waits."""
    while True:
        async with open_session() as session:
            order = await find(session, number)
        yield order
        await anyio.sleep(0.2)


@api.get("/held/{number}")
@sse_route
async def held(number: int, session: Annotated[AsyncSession, Depends(a_session)]) -> AsyncIterator[str]:
    """What not to do: the connection is the stream's for as long as it is open."""
    yield await find(session, number)
    await anyio.sleep(3600)


@api.get("/pool")
async def pool() -> dict[str, int]:
    return {"sync": engine.pool.checkedout(), "async": async_engine.pool.checkedout()}  # type: ignore[attr-defined]


app = SSEMiddleware(api)

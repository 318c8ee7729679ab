"""Tables of the schema `gateway`: who may sign in, and who has."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel

SCHEMA = "gateway"


class User(SQLModel, table=True):
    """A person. The password is kept as an Argon2id hash."""

    __tablename__ = "user"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    username: str = Field(primary_key=True)
    password_hash: str
    role: str
    created_at: datetime = Field(sa_type=DateTime(timezone=True))


class Session(SQLModel, table=True):
    """A signed-in browser. Only a hash of its token is kept."""

    __tablename__ = "session"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    token_hash: str = Field(primary_key=True)
    username: str
    csrf_token: str
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))

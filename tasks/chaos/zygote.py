"""Imported once by the process that chaos's workers are forked from: their first second."""

import psycopg  # noqa: F401
import sqlalchemy.dialects.postgresql  # noqa: F401
import torch
from sqlalchemy.orm import configure_mappers

import tasks.chaos.reconciler
import tasks.chaos.worker  # noqa: F401
from tasks.store import open_store

torch.set_num_threads(1)  # no thread may exist when workers are forked
configure_mappers()
open_store("s3://chaos/farm", endpoint="http://127.0.0.1:9")  # reads S3's interface; nothing is sent

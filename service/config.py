"""Settings, each from an environment variable ``TWINJET_<NAME>``."""

import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from twinjet.index.home import Home, system_url
from twinjet.index.retention import KEEP_GENERATIONS
from twinjet.index.vectors.engine import Choice
from twinjet.model.decode import MAX_FILE_BYTES
from twinjet.service.addresses import Networks, Origins
from twinjet.service.cores import available_cores
from twinjet.service.misconfiguration import PREFIX, ConfigError, described, unknown

_log = logging.getLogger(__name__)

# Databases that metadata are kept in.
_STORES = ("sqlite", "postgresql")


class Config(BaseSettings):
    """Settings of the service and of the command line."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        # One of them may be a key.
        hide_input_in_errors=True,
    )

    home: Annotated[
        Path,
        Field(description="Folder of generations, shards and the SQLite database"),
    ] = Path("twinjet-data")
    database_url: Annotated[
        str | None,
        Field(
            description="SQLAlchemy URL of the metadata store; "
            "SQLite in the home folder when absent"
        ),
    ] = None
    shared_store: Annotated[
        str | None,
        Field(
            description="URL of a store that fsspec knows, by which machines with "
            "homes of their own share shards and generations"
        ),
    ] = None
    vectors: Annotated[
        Choice,
        Field(
            description="What searches the vectors: FAISS in each process, pgvector in "
            "the PostgreSQL of the metadata, or Milvus; auto is FAISS where they fit "
            "into memory, else the server that there is"
        ),
    ] = "auto"
    vectors_memory_mb: Annotated[
        int | None,
        Field(
            ge=1,
            description="Memory for vectors that auto goes by; half of the machine's "
            "when absent",
        ),
    ] = None
    database_stall_s: Annotated[
        float,
        Field(
            ge=1,
            le=3600,
            description="Seconds in which something must come from a PostgreSQL that "
            "is asked; then the request is refused (503)",
        ),
    ] = 30.0
    milvus_uri: Annotated[
        str | None,
        Field(description="URI of the Milvus server, http://host:19530/database"),
    ] = None
    host: Annotated[str, Field(description="Address to serve on")] = "127.0.0.1"
    port: Annotated[
        int, Field(ge=0, le=65535, description="Port to serve on; 0 takes any")
    ] = 8000
    processes: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="Processes that `serve` answers by, on one port; each has an "
            "encoder, caches and limits of its own, and they share the index",
        ),
    ] = 1
    root_path: Annotated[
        str, Field(description="Path prefix that a proxy in front takes off")
    ] = ""
    max_upload_bytes: Annotated[
        int,
        Field(ge=1024, le=MAX_FILE_BYTES, description="Largest file of an upload"),
    ] = MAX_FILE_BYTES
    upload_queue: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Uploads that have come and are decoded, embedded or wait "
            "for it; more are refused (503) before they are read",
        ),
    ] = 32
    upload_wait_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds that one of them may wait for its turn, as the latest "
            "turns tell; who would wait longer is refused at once (503), but for four",
        ),
    ] = 2.0
    deadline_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds in which an upload must have been begun; after that "
            "it is refused (503) and never computed",
        ),
    ] = 10.0
    reads: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="Requests without a file that are computed at a time, and as "
            "many that have a body; more wait for their turn; 0 for one more than the "
            "cores that a process has",
        ),
    ] = 0
    read_wait_s: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            description="Seconds that a burst of them may wait for a turn; who would "
            "have none by then is refused at once (503), and so are most while the "
            "line has not been empty for so long",
        ),
    ] = 0.25
    decoders: Annotated[
        int, Field(ge=1, le=256, description="Processes that decode uploads")
    ] = 2
    body_stall_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds without a byte of a body that is still to come, then "
            "the request is cut off (408)",
        ),
    ] = 10.0
    body_bytes_per_s: Annotated[
        int,
        Field(
            ge=1,
            le=2**30,
            description="A body that comes slower than this, after the seconds above, "
            "is cut off (408)",
        ),
    ] = 1024
    connection_stall_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds in which the headers of a request must have come, and "
            "something must be taken of an answer; then the connection is closed",
        ),
    ] = 10.0
    keep_alive_s: Annotated[
        int,
        Field(
            ge=1,
            le=3600,
            description="Seconds that a connection stays open after an answer; a proxy "
            "must close its own before",
        ),
    ] = 5
    connections: Annotated[
        int,
        Field(
            ge=2,
            le=1_000_000,
            description="Connections that a process has open; more are closed at once",
        ),
    ] = 1000
    drain_s: Annotated[
        float,
        Field(
            ge=0,
            le=600,
            description="Seconds that the service goes on after SIGTERM, while /readyz "
            "answers 503; then running requests have 18 s",
        ),
    ] = 1.0
    encoder: Annotated[
        Path | None,
        Field(
            description="Name of a shipped encoder, or card (JSON) of another; "
            "the default one when absent"
        ),
    ] = None
    engine: Annotated[
        Literal["auto", "torch", "openvino"],
        Field(
            description="What runs the encoder on the processor: torch, openvino, or "
            "auto, which is OpenVINO where it is installed; on a GPU it is torch"
        ),
    ] = "auto"
    threads: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="Threads of the encoder of each process; 0 takes all cores, of "
            "several processes each its share",
        ),
    ] = 0
    workers: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="Worker processes that `serve` runs itself; 0 where "
            "`twinjet worker` runs elsewhere",
        ),
    ] = 1
    keep_generations: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Latest generations that stay for rollback; those in use do",
        ),
    ] = KEEP_GENERATIONS
    admin_key: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="A key of scope admin that is in no store; bytes of UTF-8",
        ),
    ] = None
    anonymous: Annotated[
        Literal["none", "read", "ingest"] | None,
        Field(
            description="What needs no key: nothing, reading, or writing sessions and "
            "lists, too; when absent reading, and `serve` on a loopback address lets "
            "write, too"
        ),
    ] = None
    requests_per_minute: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="Requests of one key, or without a key of one address (IPv6: "
            "/64); 0 for no limit",
        ),
    ] = 0
    uploads_per_minute: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="Of these, forms with files; 0 the same"),
    ] = 0
    trusted_proxies: Annotated[
        Networks,
        Field(
            description="Addresses and networks of proxies, with commas between, whose "
            "X-Forwarded-For and X-Forwarded-Proto are believed"
        ),
    ] = ()
    cors_origins: Annotated[
        Origins,
        Field(
            description="Origins, with commas between, whose pages may read answers, "
            "as https://sky.example"
        ),
    ] = ()
    hsts_s: Annotated[
        int,
        Field(
            ge=0,
            description="Seconds in which browsers that came by HTTPS may come by it "
            "alone (Strict-Transport-Security); 0 for no such header",
        ),
    ] = 0
    log_format: Annotated[
        Literal["text", "json"],
        Field(
            description="Of the log on standard error: text has warnings and errors; "
            "json has a line for each request, too"
        ),
    ] = "text"
    refresh_s: Annotated[
        float,
        Field(gt=0, le=3600, description="Seconds between looks for a new generation"),
    ] = 1.0
    picture_cache: Annotated[
        int, Field(ge=0, le=100_000, description="Drawn cutouts kept in memory")
    ] = 2000
    duplicate_radius_arcsec: Annotated[
        float,
        Field(ge=0, le=3600, description="Sources closer than this are one object"),
    ] = 10.0

    @field_validator("admin_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        # Blanks around it are not part of what a header says.
        if key is not None and key.get_secret_value() != key.get_secret_value().strip():
            msg = "it begins or ends with a blank"
            raise ValueError(msg)
        return key

    @field_validator("database_url")
    @classmethod
    def _is_of_a_store(cls, url: str | None) -> str | None:
        try:
            known = url is None or make_url(url).get_backend_name() in _STORES
        except (ArgumentError, ValueError):  # whose words may have the password
            known = False
        if not known:
            msg = "it is no URL as postgresql+psycopg://host/name or sqlite:///file"
            raise ValueError(msg)
        return url

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str) -> str:
        if path and (not path.startswith("/") or path.endswith("/")):
            msg = "it begins with a slash and ends with none, as /twinjet"
            raise ValueError(msg)
        return path

    @property
    def places(self) -> int:
        """Requests of a kind that are computed at a time."""
        # More make no answer sooner: their threads wait for one another, and the one
        # that refuses others for all of them.
        return self.reads or 1 + max(1, available_cores() // self.processes)

    @property
    def vectors_memory_bytes(self) -> int | None:
        """Memory for vectors, if there is a setting."""
        return None if self.vectors_memory_mb is None else self.vectors_memory_mb << 20

    @property
    def files(self) -> Home:
        """Layout of the home folder."""
        return Home(self.home, self.shared_store)

    @property
    def metadata_url(self) -> str:
        """URL of the metadata store that is in force."""
        return self.database_url or self.files.database_url

    @property
    def jobs_url(self) -> str:
        """URL of the database of the jobs."""
        return system_url(self.metadata_url, self.home)


def configured(**given: Any) -> Config:
    """Settings of the environment, with others in their place where given.

    What looks like a setting and is none is told in the log.

    Raises
    ------
    ConfigError
        One cannot have its value; the message names the variable and what is allowed.
    """
    for warning in unknown(os.environ, Config.model_fields):
        _log.warning("%s", warning)
    try:
        return Config(**given)
    except ValidationError as exc:
        # Without the error itself, which has the values of secrets.
        raise ConfigError(described(exc, Config)) from None

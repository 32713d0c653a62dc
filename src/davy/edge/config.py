"""What a site is: the folder an engineer keeps (site.yaml, tags, secrets) and the one Davy keeps (data).

site.yaml   tags.csv   tags.lock   secrets/   run/   data/{log,keyring,history,people.db}
"""

import re
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from davy import settings
from davy.clock import SECOND
from davy.edge import tags as tag_files
from davy.errors import ConfigError, Problem
from davy.reading import Class, Tag, TagTable
from davy.settings import Settings
from davy.source import KINDS
from davy.source.duration import Duration


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise ValueError(f"expected small letters, digits and hyphens, got {text!r}")
    return text


def _position(where: tuple[float, float]) -> tuple[float, float]:
    if not (-180 <= where[0] <= 180 and -90 <= where[1] <= 90):
        raise ValueError(f"expected [longitude, latitude] in degrees (WGS-84), got {list(where)}")
    return where


def _https(url: str) -> str:
    if not re.fullmatch(r"https://[^/\s]+/?", url):
        raise ValueError(f'expected an address such as "https://county.example:8443", got {url!r}')
    return url.rstrip("/")


Slug = Annotated[str, AfterValidator(_slug)]


class CentreLink(Settings):
    url: Annotated[str, AfterValidator(_https)] = Field(description="the centre's intake, https only")


class ConsoleAddress(Settings):
    host: str = Field("127.0.0.1", description="address the console listens on")
    port: int = Field(8101, ge=0, le=65535, description="port the console listens on; 0 picks a free one")


class _Site(Settings):
    version: Literal[1] = Field(description="version of this file's format")
    org: Slug = Field("davy", description="who the site belongs to; first part of the log's origin")
    site: Slug = Field(description="the site; second part of the log's origin")
    box: Slug = Field("bb1", description="this front-end machine; third part of the log's origin")
    name: dict[Literal["en", "zh"], str] = Field(default={}, description="what people call the site, by language")
    position: Annotated[tuple[float, float], AfterValidator(_position)] | None = Field(
        None, description="longitude and latitude, degrees, WGS-84"
    )
    tags: str = Field("tags.csv", description="the tag list, CSV or XLSX, beside this file")
    seal_every: Duration = Field(
        "1s", validate_default=True, description="readings are sealed this often; small sites may take 5s"
    )
    keep_free: int = Field(
        500,
        ge=0,
        description="MB of disk kept free: below it an alarm says so and the oldest history gives way, "
        "below half of it the oldest sealed readings",
    )
    centre: CentreLink | None = Field(None, description="who holds this site's black box; none for a site alone")
    console: ConsoleAddress = Field(ConsoleAddress(), description="the site's own console")


Link: Any = Annotated[reduce(or_, (kind.model for kind in KINDS.values())), Field(discriminator="kind")]

#: site.yaml; its `links` are told apart by `kind`.
SiteConfig = create_model(
    "SiteConfig",
    __base__=_Site,
    __doc__="site.yaml: what this site is, its links and its centre.",
    links=(dict[Slug, Link], Field(description="devices: a name for each, its kind and how to reach it")),
)


def _system(name: str, en: str, zh: str, priority: int, off_delay: int = 10 * SECOND) -> Tag:
    return Tag(
        uid=f"davy:{name.lower()}",
        index=-1,
        name=name,
        label={"en": en, "zh": zh},
        area="davy",
        link="davy",
        type="bool",
        discrete=1.0,
        alarm_class=Class.process,
        priority=priority,
        off_delay=off_delay,  # a fault that comes and goes is one alarm
    )


#: Davy's own faults are tags too: judged, alarmed, sealed and shown by the same machine as the plant's.
SYSTEM_TAGS: tuple[Tag, ...] = (
    _system("DAVY.DISK", "Black box cannot write", "黑匣子无法写入", 1),
    _system("DAVY.LOG", "Alarms not in the log within a second", "报警未在一秒内入库", 1),
    _system("DAVY.SIGNER", "Black box cannot sign", "黑匣子无法签名", 2),
    _system("DAVY.HELD", "Centre does not hold the recent record", "上级未持有近期记录", 3),
    _system("DAVY.DROPS", "Readings were dropped", "有读数被丢弃", 2, 60 * SECOND),
    _system("DAVY.ROOM", "Disk nearly full: the oldest history gives way", "磁盘将满：最旧历史数据被清除", 3),
)


@dataclass(frozen=True)
class Site:
    """A site folder, read and checked."""

    folder: Path
    config: Any  # SiteConfig; a created model has no static name
    tags: TagTable

    @property
    def origin(self) -> str:
        return f"{self.config.org}/{self.config.site}/{self.config.box}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.data / "log"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"


def _read(folder: Path) -> tuple[Any, tag_files.TagFile]:
    """site.yaml and the tag list, every problem of both in one ConfigError."""
    problems = []
    config: Any = None
    try:
        config = settings.load(folder / "site.yaml", SiteConfig)
    except ConfigError as error:
        problems += error.problems
    name = config.tags if config is not None else "tags.csv"
    links = list(config.links) if config is not None else _links_as_written(folder)
    try:
        file = tag_files.read_tags(folder / name, links)
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    problems += _addresses(config, file)
    if problems:
        raise ConfigError(problems)
    return config, file


def _links_as_written(folder: Path) -> list[str]:
    """Link names of a site.yaml that is wrong elsewhere, so its tags can still be checked."""
    try:
        data, _ = settings.read_yaml(folder / "site.yaml")
        return list(data["links"])
    except (ConfigError, KeyError, TypeError):
        return []


def _addresses(config: Any, file: tag_files.TagFile) -> list[Any]:
    """Addresses and types a link does not understand, found before anything runs."""
    if config is None:
        return []
    return [
        Problem(file.name, line, column, text)
        for tag, line in zip(file.tags, file.lines, strict=True)
        for column, text in KINDS[config.links[tag.link].kind].check(config.links[tag.link], tag)
    ]


def check(folder: Path) -> tuple[Any, tag_files.TagFile]:
    """Everything wrong with a site folder at once (ConfigError), or its settings and tag list."""
    return _read(folder)


def load(folder: Path) -> Site:
    """A site ready to run. Raises ConfigError, also when the tag list changed since it was locked."""
    config, file = _read(folder)
    locked = tag_files.read_lock(folder / "tags.lock")
    return Site(folder, _placed(config, folder), tag_files.table(_with_system(file), locked))


def _placed(config: Any, folder: Path) -> Any:
    """Files that links read lie beside site.yaml unless their path says otherwise."""
    links = {
        name: link.model_copy(update={"path": str(folder / link.path)}) if hasattr(link, "path") else link
        for name, link in config.links.items()
    }
    return config.model_copy(update={"links": links})


def _with_system(file: tag_files.TagFile) -> tag_files.TagFile:
    return tag_files.TagFile(file.name, (*file.tags, *SYSTEM_TAGS), (*file.lines, *(0 for _ in SYSTEM_TAGS)))


def write(folder: Path, make_uid: Any) -> tuple[int, TagTable]:
    """Fill empty uids and bring tags.lock up to date: (uids made, the table).

    Raises ConfigError, and then nothing was changed.
    """
    config, file = _read(folder)
    made = tag_files.write_uids(folder / config.tags, make_uid) if any(not t.uid for t in file.tags) else 0
    file = _with_system(tag_files.read_tags(folder / config.tags, list(config.links)))
    before = tag_files.read_lock(folder / "tags.lock")
    locked = tag_files.lock(file.tags, before)
    if locked != before:
        tag_files.write_lock(folder / "tags.lock", locked)
    return made, tag_files.table(file, locked)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of site.yaml."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SiteConfig.model_json_schema()}

"""A site folder's life: made once, then run as a handful of processes."""

from pathlib import Path

from davy.edge.config import Site
from davy.errors import ConfigError, Problem
from davy.process import Child

_SITE = """\
# What this site is. `davy edge check .` says all that is wrong; `davy edge check --schema` prints the schema.
version: 1
org: {name}
site: {name}
name: {{en: "{name}", zh: "{name}"}}
# position: [121.8412, 30.8625]        # longitude, latitude, WGS-84
links:
  plc: {{kind: modbus-tcp, address: "127.0.0.1:502", poll: 1s}}
# centre: {{url: "https://county.example:8443"}}
console: {{host: 127.0.0.1, port: 8101}}
"""
# ruff: noqa: E501  (lines of a tag list are as long as they are)
_TAGS = """\
uid,tag,name_en,name_zh,area,link,address,type,scale,unit,range_low,range_high,signal,hazard,class,priority,low_low,low,high,high_high,deadband,on_delay,off_delay,latch,stale_after
,T101.LEVEL,Tank 101 level,T101 液位,tank-farm,plc,1!40001,float32 CDAB,,%,0,100,,both,process,2,10,15,85,90,1,5s,5s,no,3s
,AT-07.CH4,Pump room gas,泵房可燃气,pump-room,plc,1!40011,uint16,0.1,%LEL,0,100,4-20mA,high,statutory,1,,,25,50,1,0s,0s,yes,3s
"""

#: (name, module, socket it answers on), in the order they start.
PROCESSES: tuple[tuple[str, str, str | None], ...] = (
    ("signer", "davy.edge.signer", "signer.sock"),
    ("core", "davy.edge.core", "core.sock"),
    ("history", "davy.edge.history", "history.sock"),
    ("uplink", "davy.edge.uplink", None),
    ("console", "davy.edge.console", None),
)


def init(folder: Path) -> list[str]:
    """Make a folder with a site.yaml and tags.csv to edit; refuses to touch what exists (ConfigError)."""
    if (folder / "site.yaml").exists():
        raise ConfigError(
            [Problem(str(folder / "site.yaml"), None, "", "exists already: edit it, or name a new folder")]
        )
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in folder.resolve().name.lower()).strip("-") or "site"
    (folder / "site.yaml").write_text(_SITE.format(name=name), encoding="utf-8")
    (folder / "tags.csv").write_text(_TAGS, encoding="utf-8")
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    return ["site.yaml", "tags.csv", "secrets/"]


def children(site: Site) -> list[Child]:
    """The processes of a site; the uplink only where there is a centre."""
    return [
        Child(name, module, site.folder, site.run / socket if socket else None)
        for name, module, socket in PROCESSES
        if name != "uplink" or site.config.centre is not None
    ]

"""A process that writes a log until it is killed, and says on stdout what was acknowledged."""

import sys
from pathlib import Path

from conftest import ORIGIN, Life, make_group
from davy.blackbox.log import Log
from davy.blackbox.note import Signer


def main(path: Path, skey: str) -> None:
    life = Life(Signer.parse(skey))
    log = Log.open(path, ORIGIN, segment_bytes=30_000)
    print("open", log.size, flush=True)
    while True:
        log.append(make_group(log.size, 1 + log.size % 97), log.size // 1000)
        print("held", log.size, flush=True)
        if log.size % 3:
            life.publish(log)
            print("published", log.size, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

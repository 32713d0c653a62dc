"""The process that reads Parquet for a replay: `python -m davy.source.replay.parquet TASK`.

TASK is JSON {path, columns, time, rows, zone}. Writes, per chunk, a row count (int64 little-endian), the
times (int64[rows] us) if a time column is named, and the values (float64[columns, rows]). Ends with
one line on stderr and exit status 1 when the file is not as expected.
"""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray


def _floats(column: pa.Array) -> NDArray[np.float64]:
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, "<f8")


def _micros(column: pa.Array, zone: int) -> NDArray[np.int64]:
    """us UTC; a timestamp with a zone is stored as UTC, one without is `zone` us ahead of it."""
    if not pa.types.is_timestamp(column.type):
        return np.rint(_floats(column) * 1e6).astype("<i8")
    stored = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
    return np.ascontiguousarray(stored.to_numpy(), "<i8") - (0 if column.type.tz else zone)


def main(task: str) -> None:
    """Write the columns TASK names to stdout."""
    what = json.loads(task)
    wanted = [*what["columns"], *([what["time"]] if what["time"] else [])]
    with pq.ParquetFile(what["path"]) as file:
        missing = [name for name in wanted if name not in file.schema_arrow.names]
        if missing:
            sys.exit(f"expected columns {', '.join(missing)}, found {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(what["rows"], columns=wanted):
            out = sys.stdout.buffer
            out.write(batch.num_rows.to_bytes(8, "little"))
            if what["time"]:
                out.write(_micros(batch.column(what["time"]), what["zone"]).tobytes())
            for name in what["columns"]:
                out.write(_floats(batch.column(name)).tobytes())


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (pa.ArrowException, OSError) as error:
        sys.exit(str(error))

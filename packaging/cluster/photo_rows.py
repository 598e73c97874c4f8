"""Rows of a photo for ray_segment.py and spark_segment.py: `photo`, `class`, `name`, `pixels`, `share`,
`confidence` (NaN where there are no pixels) and `error`. A photo that could not be done is one row of class
-1 with its error, and ends nothing. No cell is empty, so that every file of a table has the same types."""

import argparse
import functools
import json
import math

from trident_boards import Model, TridentError


def arguments(about: str) -> argparse.ArgumentParser:
    """What both take; the scheduler's own flags are added by the caller."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", help="a line a photo")
    parser.add_argument("out", help="a folder for Parquet files")
    parser.add_argument("--model", required=True)
    parser.add_argument("--vocabulary", required=True, help="words, made by trident text")
    parser.add_argument("--threads", type=int, default=1, help="of one photo")
    parser.add_argument("--options", default="{}", help="""such as '{"refine": "none"}'""")
    return parser


@functools.cache
def opened(model: str, threads: int) -> Model:
    """One model a process; processes of one machine share its pages."""
    return Model(model, threads=threads)


def rows(photo: str, model: str, vocabulary: str, threads: int, options: str) -> list[dict]:
    """`options`: JSON of what `trident segment --help` lists under Method, such as '{"refine": "none"}'."""
    try:
        result = opened(model, threads).segment(photo, vocabulary=vocabulary, **json.loads(options))
    except TridentError as error:
        # 3: this photo. Usage, model, memory and output are the same for every photo.
        if error.code != 3:
            raise
        return [{"photo": photo, "class": -1, "name": "", "pixels": 0, "share": 0.0, "confidence": math.nan,
                 "error": str(error)}]
    table = [{"photo": photo, **row, "error": ""} for row in result.table()]
    for row in table:
        if row["confidence"] is None:
            row["confidence"] = math.nan
    return table

"""Score rows with an exported model: a JSON object a line in, a JSON object a line out.

    fae export DIR RUN --to onnx --out MODEL
    python examples/score_lines.py MODEL < rows.jsonl

It needs fae and onnxruntime, and no torch. A row that is malformed has an error in place of a
score, and the next one is read.
"""

from __future__ import annotations

import json
import sys

import fae


def main() -> None:
    """Answer each line of the standard input."""
    model = fae.load_exported(sys.argv[1])
    for line in sys.stdin:
        try:
            (score,) = model.predict([json.loads(line)])
            answer = {"score": float(score)}
        except (ValueError, fae.FaeError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

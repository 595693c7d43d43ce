"""Read schemas from YAML files and presets, and explain the mistakes in them."""

import reprlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fae.format.errors import SchemaError
from fae.logs.columns import (
    DenseColumn,
    DroppedColumn,
    KeyColumn,
    LabelColumn,
    SparseColumn,
    SplitColumn,
    TimeColumn,
    WeightColumn,
)
from fae.logs.forms import (
    CONSTANTS,
    LEARNT,
    History,
    ListShape,
    Moments,
    VectorShape,
    expand_range,
)
from fae.logs.schema import EmbeddingShape, Explosion, Schema
from fae.logs.yaml_text import parse_yaml

#: How many of a schema's mistakes are shown.
_MISTAKES_SHOWN = 20


def list_presets() -> list[str]:
    """Return the names of the schemas that come with the program."""
    names = (file.name for file in resources.files("fae.logs.presets").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_schema(name_or_path: str) -> Schema:
    """Return the preset called `name_or_path`, or the schema in the YAML file there.

    Raises SchemaError, which names the place in the file, what was found and what is valid.
    """
    if name_or_path in list_presets():
        text = (resources.files("fae.logs.presets") / f"{name_or_path}.yaml").read_text("utf-8")
        return parse_schema(text, name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise SchemaError(
            f"no schema is called {name_or_path!r}. Choose one of {', '.join(list_presets())}, "
            "or name a .yaml file."
        )
    try:
        return parse_schema(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"cannot read the schema {path}: {error}.") from None


def parse_schema(text: str, where: str) -> Schema:
    """Return the schema that YAML `text` describes; `where` names it in errors.

    Raises SchemaError as `load_schema` does.
    """
    try:
        document = parse_yaml(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SchemaError(f"{where} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise SchemaError(f"{where}: a schema must be a mapping with the keys {_keys(Schema)}.")
    return check_schema(document, where)


def check_schema(document: dict[str, Any], where: str) -> Schema:
    """Return the schema that a mapping describes; raises SchemaError, which names each mistake."""
    try:
        return Schema.model_validate(document)
    except ValidationError as error:
        raise SchemaError(f"{where}:\n{_explain_all(error.errors(), document)}") from None


def _keys(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


_ROLES: dict[str, type[BaseModel]] = {
    "label": LabelColumn,
    "dense": DenseColumn,
    "sparse": SparseColumn,
    "time": TimeColumn,
    "weight": WeightColumn,
    "key": KeyColumn,
    "split": SplitColumn,
    "drop": DroppedColumn,
}
_MODELS: dict[str, type[BaseModel]] = {
    **_ROLES,
    "embedding": EmbeddingShape,
    "explode": Explosion,
    "history": History,
    "multi": ListShape,
    "vector": VectorShape,
    "standardize": Moments,
}


def _explain_all(mistakes: Sequence[Any], document: dict[Any, Any]) -> str:
    """Return the first mistakes, a line each, and how many there are beyond them."""
    columns: list[Any] = []
    if any(mistake["loc"][:1] == ("columns",) and mistake["loc"][1:] for mistake in mistakes):
        columns = [single for column in document["columns"] for single in expand_range(column)]
    lines = [f"  {_explain(mistake, columns)}" for mistake in mistakes[:_MISTAKES_SHOWN]]
    rest = len(mistakes) - len(lines)
    return "\n".join([*lines, *([f"  and {rest:,} more mistakes."] if rest else [])])


def _explain(mistake: Any, columns: Sequence[Any]) -> str:
    """Return one of pydantic's errors as a sentence: the column, what was found, what is valid.

    `columns` are those of the document, ranges expanded.
    """
    location = list(mistake["loc"])
    model: type[BaseModel] = Schema
    words: list[str] = []
    if location[:1] == ["columns"] and len(location) > 1 and isinstance(location[1], int):
        column = columns[location[1]]
        name = column.get("name") if isinstance(column, dict) else None
        words.append(f"column {name!r}" if name else f"column {location[1] + 1}")
        location = location[2:]
    for step in location:
        if isinstance(step, str) and step in _MODELS:
            model = _MODELS[step]
        if step not in (*_ROLES, CONSTANTS, LEARNT):
            words.append(f"`{step}`")
    prefix = "".join(f"{word}: " for word in words)
    if mistake["type"] == "extra_forbidden":
        return f"{prefix}unknown key. Valid keys: {_keys(model)}."
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{prefix}`role` must be one of {', '.join(_ROLES)}."
    if mistake["type"] == "model_type" and model is not Schema:
        learnt = "true, or " if model is Moments else ""
        found = reprlib.repr(mistake["input"])
        return f"{prefix}write {learnt}its keys: {{{_keys(model)}}} (found {found})."
    if mistake["type"] == "missing":
        return f"{prefix}missing."
    message = mistake["msg"].removeprefix("Value error, ")
    found = "" if isinstance(mistake["input"], dict | list) else f" (found {mistake['input']!r})"
    return f"{prefix}{message}{found}."

"""Pure.  openapi: the API's own description, made of api.OPERATIONS and the dataclasses they answer with.

Standards: OpenAPI 3.1, JSON Schema 2020-12 (pydantic writes the schemas).
"""

from typing import Any

from pydantic import TypeAdapter

from backupmx import __version__
from backupmx.operate.page.api import OPERATIONS, Operation, Word
from backupmx.operate.page.facts import Trace, Trouble

_GUARD = {
    400: "Neither a form nor a JSON object", 401: "No token", 403: "Not with this token, or sent by another site",
    405: "Not by this method", 408: "The body did not come in time", 413: "The body is too large",
    415: "The body is neither a form nor JSON", 421: "Not our name", 500: "A bug; the log has it",
}  # fmt: skip
"""In plain text, whatever was asked: by guard.py, before anybody looks at it."""
_TROUBLE = {404: "Nothing of that name", 409: "It does not apply now", 422: "Not understood", 503: "Queue trouble"}


def document() -> dict[str, Any]:
    """The whole of it."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "backupmx", "version": __version__, "description": "What the page shows and does."},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "backupmx page token"}},
        },
    }


def _operation(one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    body = [word for word in one.words if word.where == "body"]
    described: dict[str, Any] = {
        "summary": one.summary,
        "operationId": one.does.__name__,
        "parameters": [_parameter(word) for word in one.words if word.where != "body"],
        "responses": {
            "200": _answer("Done", _schema(list[Trace] if one.answers is list else one.answers, schemas)),
            **{str(code): _answer(words, _schema(Trouble, schemas)) for code, words in _TROUBLE.items()},
            **{str(code): _answer(words, {"type": "string"}, "text/plain") for code, words in _GUARD.items()},
        },
    }
    if body:
        sent = {"type": "object", "properties": {word.name: _of(word) for word in body}}
        described["requestBody"] = {"content": {"application/json": {"schema": sent}}}
    return described


def _parameter(word: Word) -> dict[str, Any]:
    required = {"required": True} if word.where == "path" else {}
    return {
        "name": word.name, "in": word.where, "description": word.meaning, **required,
        "schema": {name: value for name, value in _of(word).items() if name != "description"},
    }  # fmt: skip


def _of(word: Word) -> dict[str, Any]:
    values = {"enum": list(word.values)} if word.values else {}
    return {"type": word.kind, "description": word.meaning, **values}


def _answer(words: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": words, "content": {kind: {"schema": schema}}}


def _schema(answers: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference; what it needs goes into `schemas`."""
    made = TypeAdapter(answers).json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas.update(made.pop("$defs", {}))
    if "title" not in made:
        return made
    schemas[made["title"]] = made
    return {"$ref": f"#/components/schemas/{made['title']}"}

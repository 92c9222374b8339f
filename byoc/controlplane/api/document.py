"""The OpenAPI document of both APIs, made when it is first asked for.

Routes name their body and answer as text (``documented``); here the names become schemas of
``byoc.wire.management``. So no model of an answer is built at start or on any request.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from byoc.controlplane.api.story import NDJSON
from byoc.wire import management

PATH: Final = "/byoc/v1/openapi.json"
_REF: Final = "#/components/schemas/{model}"
_VENDOR_ERRORS: Final = {
    "400": "the request is not well formed",
    "401": "no valid key",
    "403": "not permitted",
    "404": "no such object",
    "409": "does not fit what exists",
    "429": "too many requests",
    "500": "our fault",
}
_OWN_ERRORS: Final = _VENDOR_ERRORS | {"503": "the cell cannot be reached", "504": "not yet"}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document; made once per app."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = made.setdefault("components", {})
        schemas: dict[str, Any] = {}
        components["schemas"] = schemas
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"bearer": []}]
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _complete(path, operation, schemas)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    body = operation.pop("x-body", "")
    if body:
        optional = body in {"WorkspaceResume", "Nothing"}
        operation["requestBody"] = {
            "required": not optional,
            "content": {"application/json": {"schema": _body(body, schemas)}},
        }
    operation["responses"] = {"200": _success(operation.pop("x-answers", ""), schemas)} | _errors(
        path, schemas
    )


def _success(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    kind = {"Event": NDJSON, "text": "text/plain"}.get(name, "application/json")
    if name == "text":
        return {"description": "done", "content": {kind: {"schema": {"type": "string"}}}}
    schema = _answer(name.strip("[]"), schemas)
    if name.startswith("["):
        schema = {"type": "array", "items": schema}
    return {"description": "done", "content": {kind: {"schema": schema}}}


def _errors(path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    if path.startswith("/byoc/"):
        content = {"application/problem+json": {"schema": _answer("Problem", schemas)}}
        return {code: {"description": text, "content": content} for code, text in _OWN_ERRORS.items()}
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {code: {"description": text, "content": content} for code, text in _VENDOR_ERRORS.items()}


def _answer(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    if name not in schemas:
        made = TypeAdapter(getattr(management, name)).json_schema(ref_template=_REF, mode="serialization")
        schemas |= made.pop("$defs", {})
        schemas[name] = made
    return {"$ref": _REF.format(model=name)}


def _body(name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    if name not in schemas:
        made = getattr(management, name).model_json_schema(ref_template=_REF)
        schemas |= made.pop("$defs", {})
        schemas[name] = made
    return {"$ref": _REF.format(model=name)}

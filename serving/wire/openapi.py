"""The OpenAPI 3.1 description of the service, with the key, views and features of the plan."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeAlias

from core.access.api_key import FORM
from core.dtypes import DTYPES
from core.roles import ROLES
from serving.wire.decode import MOST_ATTRIBUTES, MOST_EXPLAINED, MOST_OUTCOMES, MOST_PUSHED
from serving.wire.problems import MEDIA_TYPE
from serving.wire.scopes import KEY_HEADER, ROUTE_SCOPES
from serving.wire.values import LONGEST_FEATURE, LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from core.plan.plan import Entity, Feature, Plan, View

Schema: TypeAlias = "dict[str, Any]"

#: Media type of predictions for those that ask for it.
ARROW = "application/vnd.apache.arrow.stream"

_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_NOTE = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
#: PostgreSQL stores no NUL.
_STORED = {"type": "string", "pattern": "^[^\\u0000]*$"}
_IDENTIFIER = {**_STORED, "minLength": 1, "maxLength": LONGEST_TEXT}
_INSTANT = {
    "type": "string",
    "format": "date-time",
    "description": "a time with a zone, not in the future of the service's clock",
}
_VALUES: dict[str, Schema] = {
    **{
        name: {"type": "integer", "format": name, "minimum": dtype.bounds.start, "maximum": dtype.bounds.stop - 1}
        for name, dtype in DTYPES.items()
        if dtype.bounds
    },
    "float32": _NUMBER,
    "float64": _NUMBER,
    "bool": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
    "string": {**_STORED, "maxLength": LONGEST_FEATURE},
    "text": {**_STORED, "maxLength": LONGEST_FEATURE},
}
_SCALAR = {"type": ["number", "string", "boolean", "null"]}
_EXPLAIN = {
    "type": "boolean",
    "default": False,
    "description": "whether each prediction comes with its reasons; such requests are refused earlier when the service is busy",
}
#: The freshness of a view's values.
_STATUS: dict[str, Schema] = {
    "status": {"enum": ["FRESH", "STALE", "MISSING", "GIVEN"]},
    "event_time": {"type": ["string", "null"], "format": "date-time"},
}
#: What may come with an entity for the targets of experiments.
_ATTRIBUTES: Schema = {
    "type": "object",
    "maxProperties": MOST_ATTRIBUTES,
    "additionalProperties": {"anyOf": [{**_STORED, "maxLength": LONGEST_TEXT}, _NUMBER, {"type": ["boolean", "null"]}]},
    "description": "what targets of experiments are about, such as a country; neither features nor logged",
}
_AS_OF = {
    "name": "as_of",
    "in": "query",
    "schema": _INSTANT,
    "description": "the instant of the question; default: now",
}


#: The ways to send a key; a route lists the scope that the key must have.
_SCHEMES: dict[str, Schema] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": f"an API key: {FORM}; `panthera keys create` makes one",
    },
    "header": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "the same key"},
}


def code_version() -> str:
    """Return the version of the installed package, or "unknown" in a checkout or a bento without it."""
    try:
        return version("pantherapredict")
    except PackageNotFoundError:
        return "unknown"


def describe(plan: Plan, classes: Collection[str] = (), issuer: str | None = None) -> Schema:
    """Return the OpenAPI document of the service for `plan`.

    Parameters
    ----------
    classes : the names that an outcome's value may have.
    issuer : whose access tokens are accepted beside API keys.

    """
    schemes = {**_SCHEMES, **({"token": _token_of(issuer)} if issuer else {})}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{plan.project.name}: predictions", "version": code_version()},
        "paths": {path: _with_security(path, operations, schemes) for path, operations in _paths(plan).items()},
        "components": {
            "securitySchemes": schemes,
            "schemas": _schemas(plan, classes),
            "responses": {
                "Problem": {
                    "description": "an error, as RFC 9457 describes it",
                    "content": {MEDIA_TYPE: {"schema": _reference("Problem")}},
                }
            },
        },
    }


def _token_of(issuer: str) -> Schema:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": f"an access token of {issuer}, whose scopes stand for those of API keys",
    }


def _with_security(path: str, operations: Schema, schemes: Collection[str]) -> Schema:
    """Add the scope that a key needs; without any key in the database, callers on the service's own machine need none."""
    scope = ROUTE_SCOPES[path]
    security = [{scheme: [scope]} for scheme in schemes] if scope else []
    return {method: {**operation, "security": security} for method, operation in operations.items()}


def _paths(plan: Plan) -> dict[str, Schema]:
    key = {
        "name": plan.unit.key,
        "in": "query",
        "required": True,
        "schema": _list(_key(plan.unit), plan.serve.max_entities),
        "description": "an entity; repeated for several",
    }
    description = _get("This document", {"type": "object"})
    alive = _get("Whether the process responds", _object({"alive": {"const": True}}))
    return {
        "/v1/predict": _with_arrow(
            _post("Predict for entities, log the predictions, and assign arms", "Predict", "Predictions")
        ),
        "/v1/features": _get("Read online features", _reference("Features"), key, _AS_OF),
        "/v1/features/push": _post("Store rows of a stream, each event once", "Push", "Receipt"),
        "/v1/outcomes": _post("Store observed outcomes, each once", "Outcomes", "Receipt"),
        "/v1/cohorts": _get("Compare the arms of the experiment", _reference("Comparison"), _AS_OF),
        "/v1/status": _get("The active releases and their online tables", _reference("Status")),
        "/livez": alive,
        "/healthz": alive,
        "/readyz": _get(
            "Whether a prediction would succeed now", _object({"ready": {"const": True}, "problem": _NOTE})
        ),
        "/metrics": {
            "get": {"summary": "Series in Prometheus's text format", "responses": _responses(_TEXT, "text/plain")}
        },
        "/openapi.json": description,
        "/docs.json": description,
    }


def _get(summary: str, answer: Schema, *parameters: Schema) -> Schema:
    query = {"parameters": list(parameters)} if parameters else {}
    return {"get": {"summary": summary, **query, "responses": _responses(answer)}}


def _post(summary: str, request: str, answer: str) -> Schema:
    body = {"required": True, "content": {"application/json": {"schema": _reference(request)}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": _responses(_reference(answer))}}


def _with_arrow(operations: Schema) -> Schema:
    """Add the answer as Arrow, for callers that ask for it by the Accept header."""
    operations["post"]["responses"]["200"]["content"][ARROW] = {"schema": {"type": "string", "format": "binary"}}
    return operations


def _responses(answer: Schema, media_type: str = "application/json") -> Schema:
    return {
        "200": {"description": "the answer", "content": {media_type: {"schema": answer}}},
        "default": {"$ref": "#/components/responses/Problem"},
    }


def _schemas(plan: Plan, classes: Collection[str]) -> dict[str, Schema]:
    unit = plan.unit
    entity = _object({unit.key: _key(unit), "features": _given(plan), "attributes": _ATTRIBUTES}, required=[unit.key])
    return {
        "Predict": _predict(entity, plan.serve.max_entities),
        "Predictions": _open({"as_of": _INSTANT, "predictions": _list({"anyOf": [_answer(unit), _refused(unit)]})}),
        "Features": _open({"as_of": _INSTANT, "entities": _list(_read(unit))}),
        "Push": {"oneOf": [_push(plan, name, view) for name, view in plan.build_features.views.items()]},
        "Outcomes": _object({"outcomes": _list(_outcome(plan, classes), MOST_OUTCOMES)}),
        "Receipt": _object({"stored": _COUNT, "duplicates": _COUNT}),
        "Comparison": _open({"experiment": _TEXT, "as_of": _INSTANT, "arms": {"type": "object"}, "verdict": _TEXT}),
        "Status": _open(
            {
                "version": _TEXT,
                "project": _TEXT,
                "model": _TEXT,
                "experiment": _open({"name": _TEXT, "arms": _map(_COUNT)}),
                "releases": _object({role: {"type": ["object", "null"]} for role in ROLES}),
                "appointed": _map(_NOTE),
                "views": _list({"type": "object"}, least=0),
                "counts": _map(_COUNT),
                "estimated": _list(_TEXT, least=0),
                "problem": _NOTE,
            }
        ),
        "Problem": _open(
            {
                "type": {"type": "string", "format": "uri"},
                "title": _TEXT,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": _TEXT,
                "error": _open({"code": _TEXT, "message": _TEXT}),
            }
        ),
    }


def _outcome(plan: Plan, classes: Collection[str]) -> Schema:
    """Return the schema of an outcome: the label's has a number or the name of a class, one with a `name` a number."""
    common = {"outcome_id": _IDENTIFIER, plan.unit.key: _key(plan.unit), "observed_at": _INSTANT}
    value = {"anyOf": [_NUMBER, {"enum": list(classes)}]} if classes else _NUMBER
    of_label = _object({**common, "value": value})
    names = sorted(plan.monitor.outcome_names)
    of_metric = _object({**common, "value": _NUMBER, "name": {"enum": names}})
    return {"oneOf": [of_label, of_metric]} if names else of_label


def _predict(entity: Schema, most: int) -> Schema:
    one_of = [{"required": ["entity"]}, {"required": ["entities"]}]
    properties = {"entity": entity, "entities": _list(entity, most), "as_of": _INSTANT, "explain": _EXPLAIN}
    few = {"properties": {"entities": {"maxItems": MOST_EXPLAINED}}}
    is_explained = {"properties": {"explain": {"const": True}}, "required": ["explain"]}
    return {**_object(properties, required=[]), "oneOf": one_of, "if": is_explained, "then": few}


def _given(plan: Plan) -> Schema:
    """Return the schema of the features that may come with an entity; a view that is named must have all its features."""
    views = plan.build_features.views.items()
    return _object({name: _features(view) for name, view in views}, required=[])


def _features(view: View) -> Schema:
    return _object({name: _feature(feature) for name, feature in view.features.items()})


def _answer(unit: Entity) -> Schema:
    """Return the schema of a prediction.

    A multiclass one has the probabilities of all classes, a binary one the name of class 1 and, if class 0 has a name too,
    both probabilities. A regression has the interval around its score if the plan asks for one.
    """
    always = {
        "prediction_id": {"type": "string", "format": "uuid"},
        unit.key: _key(unit),
        "release": _TEXT,
        "arm": _TEXT,
        "score": _NUMBER,
        "decision": _NOTE,
        "features": _map(_open(_STATUS)),
    }
    interval = _object({"lower": _NUMBER, "upper": _NUMBER})
    some = {"positive": _TEXT, "probabilities": _map(_NUMBER), "interval": interval, "reasons": _reasons()}
    return _open({**always, **some}, required=list(always))


def _reasons() -> Schema:
    """Return the schema of the largest contributions to the raw score, before any calibration; null if the model has none."""
    reason = _open({"feature": _TEXT, "value": _SCALAR, "contribution": _NUMBER})
    return {"type": ["array", "null"], "items": reason}


def _refused(unit: Entity) -> Schema:
    return _open(
        {unit.key: _key(unit), "error": _open({"code": _TEXT, "message": _TEXT}), "features": _map(_open(_STATUS))}
    )


def _read(unit: Entity) -> Schema:
    values = _map(_SCALAR)
    return _open({unit.key: _key(unit), "features": _map(_open({**_STATUS, "values": values}))})


def _push(plan: Plan, name: str, view: View) -> Schema:
    entity = plan.entity_of(view)
    row = {
        "event_id": _IDENTIFIER,
        entity.key: _key(entity),
        "event_time": _INSTANT,
        "features": _features(view),
    }
    return _object({"view": {"const": name}, "rows": _list(_object(row), MOST_PUSHED)})


def _feature(feature: Feature) -> Schema:
    description = ", in ".join(filter(None, (feature.meaning, feature.unit)))
    return {"anyOf": [_VALUES[feature.dtype], {"type": "null"}], "description": description}


def _key(entity: Entity) -> Schema:
    return _VALUES["int64"] if entity.dtype == "int64" else _IDENTIFIER


def _object(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    """Return the schema of an object with only these properties; all are required by default."""
    return {**_open(properties, required), "additionalProperties": False}


def _open(properties: Mapping[str, Schema], required: Sequence[str] | None = None) -> Schema:
    """Return the schema of an object with these and other properties; all of `properties` are required by default."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), "required": names}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _list(items: Schema, most: int | None = None, least: int = 1) -> Schema:
    return {"type": "array", "items": items, "minItems": least, **({"maxItems": most} if most else {})}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}

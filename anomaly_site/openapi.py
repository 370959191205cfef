"""Completes `/schema`: every status that an operation answers with, and the two forms of an error."""

from typing import Any, Final

from ingestion.delivery.webhook import SCHEMA
from market.problems import PROBLEM

_REF: Final = "#/components/schemas/"
_FIELD_ERRORS: Final = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    },
    "description": "What is wrong, in sentences, by the name of the parameter; `detail` if it is none of them.",
}
_SCHEMAS: Final = {
    "Refusal": _FIELD_ERRORS,
    "Failure": {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string", "description": "What is wrong, in a sentence."}},
    },
    "Problem": {
        "type": "object",
        "description": "Problem details (RFC 9457), for those whose `Accept` names application/problem+json.",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "Always about:blank."},
            "title": {"type": "string", "description": "The status in words."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What is wrong, in sentences."},
            "errors": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
                "description": "What is wrong, in sentences, by the name of the parameter or field.",
            },
        },
    },
}
_MEANINGS: Final = {
    "400": "A parameter or field is unknown, or its value is refused.",
    "401": "The token is not valid; or reading needs a token or a signed-in user here (ACCESS).",
    "403": "Not signed in, or not allowed to do this.",
    "404": "There is nothing at this address.",
    "406": "None of the forms that `Accept` names can be had.",
    "409": "A request with this Idempotency-Key is being answered.",
    "413": "The body is larger than any that this site takes.",
    "415": "The body is of a type that is not read; see the request body.",
    "422": "This Idempotency-Key was used for another message.",
    "429": "Too many requests, or too many lists or exports at once: wait as long as `Retry-After` says.",
    "503": "A store does not answer, or not in time: wait as long as `Retry-After` says.",
}
_IN_PATH: Final = {
    "id": "Identifier of the anomaly.",
    "secret": "A token for this address alone (manage.py token create NAME --url), for senders that can set no header.",
}
_NUMBERS: Final = {
    "routes": "Number of the route.",
    "channels": "Number of the channel.",
    "push": "Number of the browser.",
}
_RETRY: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name, "in": "header", "required": True, "description": description, "schema": {"type": "string"},
    }  # fmt: skip


# What is sent to the webhooks that channels name (docs/delivery.md).
_WEBHOOKS: Final = {
    "anomaly": {
        "post": {
            "summary": "A message to a webhook",
            "description": "Signed by the Standard Webhooks specification. Answer within 10 s.",
            "parameters": [
                _header("webhook-id", "Identifies the message; a repetition has the same."),
                _header("webhook-timestamp", "When it was sent, in seconds since 1970 (UTC)."),
                _header("webhook-signature", "`v1,` and the signature; several, separated by spaces."),
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}},
            "responses": {
                "2XX": {"description": "Accepted."},
                "410": {"description": "Gone: the channel is switched off."},
                "default": {"description": "Sent again later: 408, 425, 429, 5xx. Given up: all others."},
            },
        }
    }
}


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """A postprocessing hook of drf-spectacular."""
    result["components"]["schemas"] |= _SCHEMAS
    result["webhooks"] = _WEBHOOKS
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            statuses = ["400", "401", "403", "406", "429", "503"]
            statuses += ["404"] if "{" in path else []
            statuses += ["409", "413", "422"] if path.startswith("/publish") else []
            statuses += ["413", "415"] if method in ("post", "patch") else []
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["description"] = _NUMBERS.get(path.split("/")[1]) or _IN_PATH[parameter["name"]]
            for status in sorted(statuses):
                operation["responses"].setdefault(status, _answer(status))
    return result


def _answer(status: str) -> dict[str, Any]:
    body = "Refusal" if status == "400" else "Failure"
    return {
        "description": _MEANINGS[status],
        "content": {
            "application/json": {"schema": {"$ref": f"{_REF}{body}"}},
            PROBLEM: {"schema": {"$ref": f"{_REF}Problem"}},
        },
    } | ({"headers": _RETRY} if status in ("429", "503") else {})

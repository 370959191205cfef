"""JSON Schema of wire messages, as generators of clients understand it: described, without defaults, open to additions.

An answer has no defaults: what is absent is absent. Names that may be added later (`method`, the `type` of a market
anomaly) are texts beside the known ones, so that a generated client does not fail at a new one.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import msgspec

from market.wire.meanings import MEANINGS
from market.wire.messages import MarketAnomaly, Method, _MarketFields

Schema = dict[str, Any]

TEMPLATE: Final = "#/components/schemas/{name}"
OTHER: Final = "OtherMarketAnomaly"
MARKET: Final = tuple(kind.__name__ for kind in get_args(MarketAnomaly))
_OPEN: Final = ("Method",)


def components(kinds: Iterable[Any], meanings: Mapping[str, str] = MEANINGS) -> tuple[list[Schema], dict[str, Schema]]:
    """A schema for each of `kinds`, and those that they refer to, by name."""
    kinds = list(kinds)
    made, named = msgspec.json.schema_components([*kinds, _MarketFields, Method], ref_template=TEMPLATE)
    bases = {kind.__name__: kind for each in kinds for kind in get_args(each) or (each,) if isinstance(kind, type)}
    common = named.pop(_MarketFields.__name__)
    for name, schema in named.items():
        _finish(name, schema, meanings, market=name in MARKET or issubclass(bases.get(name, object), _MarketFields))
    if set(MARKET) <= named.keys():
        named[OTHER] = _other(common, meanings)
    return [_with_other(schema) for schema in made[:-2]], {name: _with_other(one) for name, one in named.items()}


def flat(name: str, added: Mapping[str, Schema], named: Mapping[str, Schema]) -> Schema:
    """The object `name` with more properties, all of them required."""
    whole = named[name]
    return whole | {
        "properties": whole["properties"] | dict(added),
        "required": [*whole.get("required", ()), *added],
    }


def is_market(schema: Mapping[str, Any]) -> bool:
    """Whether this is the union of market anomalies."""
    return "discriminator" in schema


def market_union(template: str = TEMPLATE) -> Schema:
    """A market anomaly of any kind: which one its `type` says. `OTHER` is one of a later version."""
    tags = {kind.__struct_config__.tag: template.format(name=kind.__name__) for kind in get_args(MarketAnomaly)}
    return {
        "oneOf": [{"$ref": template.format(name=name)} for name in (*MARKET, OTHER)],
        "discriminator": {"propertyName": "type", "mapping": tags},
    }


def _finish(name: str, schema: Schema, meanings: Mapping[str, str], *, market: bool) -> None:
    schema.pop("title", None)  # generators name classes by it: two of one name are none
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    if name in _OPEN:
        known = schema.pop("enum")
        schema |= {"description": meanings["method"], "anyOf": [{"type": "string", "enum": known}, {"type": "string"}]}
        schema.pop("type", None)
    for key, field in schema.get("properties", {}).items():
        field.pop("default", None)
        if key == "method" and field.pop("pattern", None):
            field.pop("type")
            field["$ref"] = TEMPLATE.format(name="Method")
        if field.get("type") == "object" and "additionalProperties" not in field:
            field["additionalProperties"] = True
        if key == "type" and "enum" in field:
            field["type"] = "string"
        places = (f"{name}.{key}", *([f"_MarketFields.{key}"] if market else []), key)
        if text := next((meanings[place] for place in places if place in meanings), None):
            field["description"] = text


def _other(common: Schema, meanings: Mapping[str, str]) -> Schema:
    """A market anomaly of a type that this version does not know."""
    _finish(OTHER, common, meanings, market=True)
    known = [kind.__struct_config__.tag for kind in get_args(MarketAnomaly)]
    kind = {"type": "string", "not": {"enum": known}, "description": "A type that a later version added."}
    return {
        "description": "A market anomaly of a type that a later version added: what all market anomalies have.",
        "type": "object",
        "properties": {"type": kind, **common["properties"]},
        "required": ["type", *common["required"]],
    }


def _with_other(schema: Schema) -> Schema:
    """The same with the union of market anomalies as `market_union`, wherever it stands."""
    if is_market(schema):
        return market_union() | {key: schema[key] for key in ("description",) if key in schema}
    changed = {key: _with_other(value) for key, value in schema.items() if isinstance(value, dict)}
    return schema | changed

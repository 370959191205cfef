"""JSON Schema as a flat table of paths and types, whatever the classes behind it are called."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_PREFIX: Final = "#/components/schemas/"


def keys(schema: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """Path → type of every key. A `?` ends the path of a key that may be absent, `[]` and `{}` stand for the items of a
    list and the values of an object, `<TAG>` for one form of a union; what all these share is there without a tag, too.
    An enumeration is the list of its values, also if other texts may come beside them."""
    return dict(sorted(_walk(schema, components, "", ())))


def _walk(
    schema: Mapping[str, Any], components: Mapping[str, Any], path: str, inside: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    if name := schema.get("$ref", "").removeprefix(_PREFIX):
        if name in inside:
            yield path or ".", "recursive"
        else:
            yield from _walk(components[name], components, path, (*inside, name))
        return
    for part in schema.get("allOf", ()):
        yield from _walk(part, components, path, inside)
    if forms := schema.get("anyOf") or schema.get("oneOf"):
        yield from _union(forms, components, path, inside)
    elif "enum" in schema or "const" in schema:
        yield path or ".", sorted(map(str, schema.get("enum") or [schema["const"]]))
    elif "properties" in schema:
        required = schema.get("required", ())
        for key, value in schema["properties"].items():
            mark = "" if key in required else "?"
            yield from _walk(value, components, f"{path}.{key}{mark}" if path else f"{key}{mark}", inside)
    elif "items" in schema:
        yield from _walk(schema["items"], components, f"{path}[]", inside)
    elif isinstance(schema.get("additionalProperties"), Mapping):
        yield from _walk(schema["additionalProperties"], components, f"{path}{{}}", inside)
    elif "allOf" not in schema:
        kind = schema.get("type", "any")
        yield path or ".", "|".join(sorted(kind)) if isinstance(kind, list) else kind


def _union(
    forms: list[Mapping[str, Any]], components: Mapping[str, Any], path: str, inside: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    """A type and null, several types, or objects that their key `type` tells apart."""
    simple, shared = [], []
    for form in forms:
        found = list(_walk(form, components, "", inside))
        [(key, kind), *more] = found or [(".", "any")]
        if not more and key == "." and isinstance(kind, str):
            simple.append(kind)
            continue
        tag = next((f"<{kind[0]}>" for key, kind in found if key == "type" and isinstance(kind, list)), "")
        if tag:
            shared.append(found)
        # A form without a tag is what later versions may add: nobody relies on its keys.
        if tag or len(forms) == 1 or key == ".":
            yield from _walk(form, components, f"{path}{tag}", inside)
    if len(shared) > 1:
        common = [(key, kind) for key, kind in shared[0] if all((key, kind) in each for each in shared)]
        yield from ((f"{path}.{key}" if path else key, kind) for key, kind in common)
    if simple and not any("enum" in form for form in forms):
        nullable = simple == ["null"] and len(forms) > 1
        yield (f"{path} or null" if nullable else path or "."), "|".join(sorted(simple))

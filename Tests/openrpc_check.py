#!/usr/bin/python3
"""openrpc.json is a valid OpenRPC 1.3 document, and holds the contract that existing clients use, unchanged.

The schema below says what the OpenRPC specification (https://spec.open-rpc.org, version 1.3) demands of each object;
schemas within the document are checked as JSON Schema draft 7, and every reference must lead somewhere.
"""

import json
import pathlib
import sys

import jsonschema

root = pathlib.Path(__file__).resolve().parent.parent


def text(**more):
    return {"type": "string", **more}


def closed(required, /, **properties):
    """An object with these members, extensions (x-…) and nothing else."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }


def ref(name):
    return {"$ref": f"#/definitions/{name}"}


def listed(name):
    """A list of these objects, or of references to them."""
    return {"type": "array", "items": {"oneOf": [ref(name), ref("reference")]}}


def named(name):
    return {"type": "object", "patternProperties": {"^[a-zA-Z0-9._-]+$": ref(name)}, "additionalProperties": False}


OPENRPC = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    **closed(
        ["openrpc", "info", "methods"],
        openrpc=text(pattern=r"^1\.[0-3]\.\d+$"),
        info=ref("info"),
        servers={"type": "array", "items": ref("server")},
        methods=listed("method"),
        externalDocs=ref("externalDocs"),
        components=closed(
            [],
            schemas=named("schema"),
            links=named("link"),
            errors=named("error"),
            examples=named("example"),
            examplePairings=named("examplePairing"),
            contentDescriptors=named("contentDescriptor"),
            tags=named("tag"),
        ),
    ),
    "definitions": {
        "reference": {
            "type": "object",
            "required": ["$ref"],
            "properties": {"$ref": text(pattern="^#/")},
            "additionalProperties": False,
        },
        "schema": {"$ref": "http://json-schema.org/draft-07/schema#"},
        "info": closed(
            ["title", "version"],
            title=text(),
            version=text(),
            description=text(),
            termsOfService=text(),
            contact=closed([], name=text(), url=text(), email=text()),
            license=closed([], name=text(), url=text()),
        ),
        "server": closed(
            ["url"], url=text(minLength=1), name=text(), summary=text(), description=text(), variables={"type": "object"}
        ),
        "externalDocs": closed(["url"], url=text(), description=text()),
        "method": closed(
            ["name", "params"],
            name=text(minLength=1),
            summary=text(),
            description=text(),
            tags=listed("tag"),
            externalDocs=ref("externalDocs"),
            params=listed("contentDescriptor"),
            result={"oneOf": [ref("contentDescriptor"), ref("reference")]},
            deprecated={"type": "boolean"},
            servers={"type": "array", "items": ref("server")},
            errors=listed("error"),
            links=listed("link"),
            paramStructure={"enum": ["by-name", "by-position", "either"]},
            examples=listed("examplePairing"),
        ),
        "contentDescriptor": closed(
            ["name", "schema"],
            name=text(minLength=1),
            schema=ref("schema"),
            summary=text(),
            description=text(),
            required={"type": "boolean"},
            deprecated={"type": "boolean"},
        ),
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "integer"}, "message": text(), "data": {}},
            "additionalProperties": False,
        },
        "tag": closed(["name"], name=text(minLength=1), summary=text(), description=text(), externalDocs=ref("externalDocs")),
        "link": closed(
            [], name=text(minLength=1), summary=text(), description=text(), method=text(), params={}, server=ref("server")
        ),
        "example": {
            "type": "object",
            "required": ["name", "value"],
            "properties": {"name": text(minLength=1), "value": {}, "summary": text(), "description": text()},
        },
        "examplePairing": {
            "type": "object",
            "required": ["name", "params"],
            "properties": {"name": text(minLength=1), "description": text(), "params": listed("example"),
                           "result": {"oneOf": [ref("example"), ref("reference")]}},
        },
    },
}


def references(value):
    """Every `$ref` in the document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for element in value:
            yield from references(element)


def resolve(document, reference):
    place = document
    for part in reference.removeprefix("#/").split("/"):
        place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


def faults(document):
    """What is wrong with an OpenRPC document, as sentences."""
    for error in jsonschema.Draft7Validator(OPENRPC).iter_errors(document):
        yield f"{'/'.join(map(str, error.absolute_path)) or 'the document'}: {error.message}"
        return
    names = [method["name"] for method in document["methods"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"method {name} stands there twice"
    for reference in references(document):
        try:
            resolve(document, reference)
        except (KeyError, TypeError):
            yield f"{reference} leads nowhere"
    for method in document["methods"]:
        params = [param for param in method["params"] if "$ref" not in param]
        optional = False
        for param in params:
            if param.get("required") and optional:
                yield f"{method['name']}: required parameter {param['name']} behind an optional one"
            optional = optional or not param.get("required")
        codes = [error["code"] for error in method.get("errors", []) if "code" in error]
        if len(codes) != len(set(codes)):
            yield f"{method['name']}: an error code stands there twice"


def missing(ours, seed):
    """What the contract has and ours has not, or has otherwise."""
    methods = {method["name"]: method for method in ours["methods"]}
    for method in seed["methods"]:
        mine = methods.get(method["name"])
        if mine is None:
            yield f"method {method['name']} is missing"
            continue
        for key, value in method.items():
            if mine.get(key) != value:
                yield f"method {method['name']}: {key} is not the contract's"
    for name, schema in seed["components"]["schemas"].items():
        if ours["components"]["schemas"].get(name) != schema:
            yield f"schema {name} is not the contract's"


def main():
    ours = json.loads((root / "openrpc.json").read_text())
    seed = json.loads((root / "Tests/SupervisorAPITests/Fixtures/openrpc.seed.json").read_text())
    wrong = [*faults(ours), *missing(ours, seed)]
    # The checks themselves can fail: a document that lacks something is found out.
    for broken in ({}, {**ours, "methods": [{"name": "x"}]}, {**ours, "extra": 1}, {**ours, "openrpc": "2.0"}):
        assert list(faults(broken)), "a broken document passes the check"
    assert list(missing({**ours, "methods": ours["methods"][1:]}, seed)), "a missing method passes the check"
    for line in wrong:
        print(f"openrpc.json: {line}", file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"openrpc.json: valid, {len(seed['methods'])} methods of the contract and {len(ours['methods']) - len(seed['methods'])} of ours")


main()

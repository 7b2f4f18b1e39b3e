"""A data set described in Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from features import about
from features.terminal import printable

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "samplingRate": "cr:samplingRate", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}
"""The standard's own, which validators compare."""
PAGES = {"CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
         "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/"}


def metadata(title: str, called: str, told: list[dict[str, Any]], sources: list[about.Source]) -> dict[str, Any]:
    """The JSON-LD of an export. Columns of structures within lists have no type in Croissant, and are left out of it;
    what a record set leaves out is in its description.

    Args:
        told: name, meaning, schema and splits of each table, whose files lie in the folder of its name.
    """
    dois = sorted({doi for source in sources for doi in source.dois})
    licences = sorted({source.licence for source in sources if source.licence})
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": title,
        "conformsTo": CONFORMS_TO,
        "description": f"Tables of MultimodalCPF, {printable(called)}: "
                       + "; ".join(f"{one['name']} ({one['rows']:,} rows)" for one in told),
        "license": [printable(PAGES.get(name, name)) for name in licences] or ["unknown"],
        **({"citeAs": ", ".join(f"https://doi.org/{printable(doi)}" for doi in dois)} if dois else {}),
        "distribution": [{"@type": "cr:FileSet", "@id": f"{one['name']}-files", "name": f"{one['name']}-files",
                          "description": f"Parquet files of {one['name']}", "encodingFormat": "application/x-parquet",
                          "includes": f"{one['name']}/*.parquet"} for one in told],
        "recordSet": [_record_set(one) for one in told],
    }


def _record_set(one: dict[str, Any]) -> dict[str, Any]:
    name, schema = one["name"], one["schema"]
    fields = [made for field in schema if (made := _field(name, field)) is not None]
    missing = sorted(set(schema.names) - {made["name"] for made in fields})
    more = f" Not described here: {', '.join(missing)}." if missing else ""
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": f"{one['meaning']}{more}".strip(),
            "field": fields}


def _field(table: str, field: pa.Field) -> dict[str, Any] | None:
    dtype, repeated = field.type, False
    while pa.types.is_list(dtype):
        dtype, repeated = dtype.value_type, True
    kind = _kind(dtype)
    if kind is None:
        return None
    unit = about.text(field, "unit")
    words = about.text(field, "description") + (f" ({unit})" if unit else "")
    return {"@type": "cr:Field", "@id": f"{table}/{field.name}", "name": field.name, "description": words,
            "dataType": kind, **({"repeated": True} if repeated else {}),
            "source": {"fileSet": {"@id": f"{table}-files"}, "extract": {"column": field.name}}}


def _kind(dtype: pa.DataType) -> str | None:
    if pa.types.is_string(dtype):
        return "sc:Text"
    if pa.types.is_boolean(dtype):
        return "sc:Boolean"
    if pa.types.is_integer(dtype):
        return "sc:Integer"
    if pa.types.is_floating(dtype):
        return "sc:Float"
    return "sc:DateTime" if pa.types.is_timestamp(dtype) else None

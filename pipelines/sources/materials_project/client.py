"""The Materials Project's own client, mp-api, asked page by page so that a pull can be broken off and go on.

mp-api is imported here only, and only when something must be fetched: its import takes 9 s. Every search names
`deprecated`, since a search without any filter leaves the API for a download that heeds neither endpoint nor fields.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import os
import platform
import re
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import TypeAdapter, ValidationError

from features.errors import UserError
from pipelines.params import VERSION_PATTERN, MaterialsProjectParams
from pipelines.sources.materials_project.documents import NESTED
from pipelines.sources.web import Session, host

PAGE = 1000
"""Documents per page of a listing, the most that the API gives."""
LONGEST_IDS = 3000
"""Characters of ids in one address; servers refuse addresses beyond some 8,000."""
OURS = ("self", "deprecated", "include_gnome", "num_chunks", "chunk_size", "all_fields", "fields", "_page",
        "_sort_fields", "kwargs", "material_ids")
"""Arguments of the search that are set here or by parameters of their own."""
ONE_AT_A_TIME = ("crystal_system", "spacegroup_number", "spacegroup_symbol")
"""Filters of which the API takes one value; a list of values becomes several searches."""
WHERE = "ingest.materials_project"

Query = dict[str, Any]
Document = dict[str, Any]


def api_key() -> str:
    """The key in `MP_API_KEY`. It is never shown, logged or written."""
    key = os.environ.get("MP_API_KEY", "").strip()
    if not key:
        raise UserError("MP_API_KEY is not set: make a key at https://next-gen.materialsproject.org/api and "
                        "`export MP_API_KEY=…`")
    if not re.fullmatch(r"[!-~]{32}", key):
        raise UserError(f"MP_API_KEY holds {len(key)} characters that are no key: keys have 32 letters and digits "
                        "(https://next-gen.materialsproject.org/api)")
    return key


class Client:
    """The searches that a pull needs, each one request, asked again until its answer is whole."""

    def __init__(self, params: MaterialsProjectParams) -> None:
        key = api_key()
        try:
            agent = f"mp-api/{version('mp-api')} (Python/{platform.python_version()}) multimodal-cpf"
        except PackageNotFoundError:
            raise UserError("mp-api is not installed: pip install -c constraints.txt '.[mp]'") from None
        self.params = params
        self._session = Session(params, {"x-api-key": key, "user-agent": agent}, secret=key)

    def database_version(self) -> str:
        """The version of the database that the server has now."""
        version = self._session.get(self.params.endpoint + "heartbeat").json().get("db_version")
        if not isinstance(version, str) or not VERSION_PATTERN.fullmatch(version):
            raise UserError(f"{host(self.params.endpoint)} is no Materials Project API: its heartbeat names no "
                            "database version")
        return version

    def queries(self) -> list[Query]:
        """The filters as arguments of mp-api's search, checked; several where one search cannot express them."""
        search = self._summary.search
        arguments, types = inspect.signature(search).parameters, typing.get_type_hints(search)
        filters = [name for name in arguments if name not in OURS]
        values: dict[str, list[Any]] = {}
        for name, value in self.params.filters.items():
            if name not in filters:
                raise UserError(f"{WHERE}.filters.{name} is no filter{_suggest(name, filters)}")
            several = value if name in ONE_AT_A_TIME and isinstance(value, list) else [value]
            values[name] = [_converted(name, one, types[name]) for one in several]
        return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]

    def check_fields(self, properties: Sequence[str]) -> None:
        """Say in one line if a field is unknown or not numeric."""
        model = self._summary.document_model.model_fields
        numeric = [name for name, field in model.items()
                   if {int, float, bool} & {field.annotation, *typing.get_args(field.annotation)}]
        names = [*numeric, *NESTED]
        for name in properties:
            if name not in names:
                raise UserError(f"{WHERE}.fields: '{name}' is no numeric field of the API{_suggest(name, names)}")

    def check_ids(self, ids: Sequence[str]) -> None:
        """Say in one line if an id is not the one under which its crystal is stored."""
        for material_id in ids:
            if _canonical(material_id) != material_id:
                raise UserError(f"{WHERE}.material_ids: write {_canonical(material_id)} for {material_id}")

    def page(self, query: Query, deprecated: bool, number: int, fields: Sequence[str]) -> tuple[list[Document], int]:
        """Page `number` (from 1) of a search, by rising id, and the number of documents on all pages."""
        page = self._search(query, deprecated, fields, PAGE, number, _page=number, _sort_fields="material_id")
        return page, int(self._session.meta["total_doc"])

    def by_ids(self, query: Query, ids: Sequence[str], deprecated: bool, fields: Sequence[str],
               all_there: bool = False) -> dict[str, Document]:
        """The documents of these ids that the server has and the query takes; at most `PAGE` ids, see `id_chunks`.

        `all_there` says that the server should have all of them: what is left out is asked for again.
        """
        askable = [material_id for material_id in ids if _validated(material_id) == material_id]
        by_id: dict[str, Document] = {}
        for _ in range(self.params.attempts if askable else 0):
            documents = self._search(query, deprecated, fields, len(askable), material_ids=askable)
            by_id = {document["material_id"]: document for document in documents if document["material_id"] in askable}
            if not all_there or len(by_id) == len(askable):
                break
        return by_id

    def descriptions(self, ids: Sequence[str]) -> dict[str, Document]:
        """What the Materials Project says of these crystals in words, of those that it describes."""
        askable = [material_id for material_id in ids if _validated(material_id) == material_id]
        if not askable:
            return {}
        documents = self._whole(lambda: self._robocrys.search_docs(
            material_ids=askable, all_fields=False, num_chunks=1, chunk_size=len(askable),
            fields=["material_id", "description", "condensed_structure", "robocrys_version"]), len(askable))
        return {document["material_id"]: document for document in documents if document["material_id"] in askable}

    def _search(self, query: Query, deprecated: bool, fields: Sequence[str], size: int, number: int = 1,
                **options: Any) -> list[Document]:
        return self._whole(lambda: self._summary.search(
            **query, **options, deprecated=deprecated, include_gnome=self.params.include_gnome, fields=list(fields),
            all_fields=False, num_chunks=1, chunk_size=size), size, number)

    def _whole(self, search: Callable[[], Any], size: int, number: int = 1) -> list[Document]:
        """The documents of page `number`, asked for again until all that the answer counts are there."""
        came = expected = 0
        for _ in range(self.params.attempts):
            documents, total = self._asked(search), self._session.meta.get("total_doc")
            if isinstance(total, int):
                came, expected = len(documents), min(size, max(total - (number - 1) * size, 0))
                if came == expected:
                    return documents
        raise UserError(f"{host(self.params.endpoint)} gives {came} documents where it counts {expected}, asked "
                        f"{self.params.attempts} times; what was pulled is stored, run the command again to go on")

    def _asked(self, search: Callable[[], Any]) -> list[Document]:
        from mp_api.client import MPRestError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each search advertises its documentation
            try:
                documents = list(search())
            except MPRestError as error:
                text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
                raise UserError(f"{WHERE}: mp-api refuses the search: {self._session.shown(text)}") from None
            except KeyError:
                documents = [None]
        if not all(isinstance(document, dict) for document in documents):
            raise UserError(f"{host(self.params.endpoint)} gives something else than documents")
        return [document | {"material_id": _canonical(document.get("material_id"))} for document in documents]

    @functools.cached_property
    def _summary(self) -> Any:
        from mp_api.client.routes.materials.summary import SummaryRester

        return self._made(SummaryRester)

    @functools.cached_property
    def _robocrys(self) -> Any:
        from mp_api.client.routes.materials.robocrys import RobocrysRester

        return self._made(RobocrysRester)

    def _made(self, route: Any) -> Any:
        """The client of one route; mp-api's `MPRester` would ask for more than is needed here."""
        class Route(route):
            @functools.cached_property
            def available_fields(self) -> list[str]:
                """mp-api makes this list anew, in half a second, for every request."""
                return list(super().available_fields)

            @staticmethod
            def _get_heartbeat_info(_: str) -> tuple[str, list[str]]:
                """mp-api asks for the version without a time-out, past the session; here `database_version` does."""
                return "", []

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Route(api_key=self._session.secret, endpoint=self.params.endpoint, session=self._session,
                         use_document_model=False, mute_progress_bars=True)


def _validated(material_id: Any) -> str | None:
    """The id as mp-api writes it, None if it is none."""
    from mp_api.client.core.utils import validate_ids

    try:
        return str(validate_ids([material_id])[0])
    except ValueError:
        return None


def _canonical(material_id: Any) -> Any:
    """The id under which a crystal is stored, mp-149: the API may also give it in letters, mp-ft or mp-aaaaaaft."""
    return _validated(material_id) or material_id


def id_chunks(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    """Ids in chunks of at most `size` that fit into an address, where the comma between two takes three characters."""
    chunk: list[str] = []
    length = 0
    for material_id in ids:
        if chunk and (len(chunk) == size or length + len(material_id) + 3 > LONGEST_IDS):
            yield chunk
            chunk, length = [], 0
        chunk.append(material_id)
        length += len(material_id) + 3
    if chunk:
        yield chunk


def _converted(name: str, value: Any, hint: Any) -> Any:
    """A filter's value as mp-api's search wants it; an open end of a range is null."""
    is_range = "tuple[" in str(hint)
    try:
        if is_range and isinstance(value, list) and len(value) == 2 and None in value:
            return tuple(None if end is None else TypeAdapter(float | int).validate_python(end) for end in value)
        return TypeAdapter(hint).validate_python(value)
    except ValidationError:
        wants = "a number or [lowest, highest]" if is_range else str(hint).replace("typing.", "").split(" | None")[0]
        raise UserError(f"{WHERE}.filters.{name}: {value!r} is not what the search takes, {wants}") from None


def _suggest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(names)}"

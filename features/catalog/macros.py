"""`similar`, `near` and `find` in SQL alone, for clients that open `data/catalog.duckdb`.

They read the tables each time, and `find` compares words, since other clients have no text encoder. No lambda stands in
them, whose spelling changed between versions of DuckDB, and `n` has no default, which DuckDB 1 takes by its name alone.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from features import vectors
from features.catalog import meanings
from features.catalog.views import identifier, quoted

NEEDS = {"similar": "text_embeddings", "near": "structures", "find": "descriptions"}
"""The table that each of them reads, beside `materials` for the formulas."""
SIMILAR = """
    SELECT material_id, round(list_cosine_similarity(pooled, (
        SELECT CASE WHEN count(*) = 0 THEN error('text_embeddings has no vector of the description of ' || id)
                    ELSE first(pooled) END
        FROM text_embeddings WHERE material_id = id AND variant = 0 AND pooled IS NOT NULL))::DOUBLE, 6) AS similarity
    FROM text_embeddings WHERE variant = 0 AND material_id <> id AND pooled IS NOT NULL"""
NEAR = """
    WITH cell AS (
        SELECT material_id, cbrt(abs(
            lattice[1] * (lattice[5] * lattice[9] - lattice[6] * lattice[8])
            - lattice[2] * (lattice[4] * lattice[9] - lattice[6] * lattice[7])
            + lattice[3] * (lattice[4] * lattice[8] - lattice[5] * lattice[7])) / len(orbit)) AS length
        FROM structures),
    atoms AS (SELECT material_id, unnest(orbit) AS orbit, unnest(atomic_numbers) AS element FROM structures),
    orbits AS (SELECT material_id, orbit, any_value(element) AS element, count(*) AS atoms FROM atoms GROUP BY ALL),
    vectors AS (
        SELECT material_id, unnest(near_i) AS i, unnest(near_j) AS j, unnest(near_vector[1:-:3])::DOUBLE AS x,
               unnest(near_vector[2:-:3])::DOUBLE AS y, unnest(near_vector[3:-:3])::DOUBLE AS z
        FROM structures),
    neighbours AS (
        SELECT v.material_id, i, a.element = b.element AS alike, sqrt(x * x + y * y + z * z) AS distance
        FROM vectors v JOIN orbits a ON a.material_id = v.material_id AND a.orbit = i
                       JOIN orbits b ON b.material_id = v.material_id AND b.orbit = j),
    ranked AS (
        SELECT material_id, i, false AS alike, distance,
               row_number() OVER (PARTITION BY material_id, i ORDER BY distance) AS place FROM neighbours
        UNION ALL
        SELECT material_id, i, true, distance,
               row_number() OVER (PARTITION BY material_id, i ORDER BY distance) FROM neighbours WHERE alike),
    places AS (SELECT false AS alike, unnest(range(1, {neighbours} + 1)) AS place
               UNION ALL SELECT true, unnest(range(1, {alike} + 1))),
    ends AS (SELECT material_id, i, max(distance) AS distance FROM neighbours GROUP BY ALL),
    known AS (
        SELECT o.material_id, o.atoms, p.alike, p.place,
               coalesce(r.distance, CASE WHEN p.alike THEN e.distance END, sqrt({reach})) AS distance
        FROM orbits o CROSS JOIN places p
        LEFT JOIN ranked r ON r.material_id = o.material_id AND r.i = o.orbit AND r.alike = p.alike
                              AND r.place = p.place
        LEFT JOIN ends e ON e.material_id = o.material_id AND e.i = o.orbit),
    moments AS (
        SELECT material_id, alike, place, sum(atoms * distance) / sum(atoms) AS mean,
               sum(atoms * distance * distance) / sum(atoms) AS square
        FROM known GROUP BY ALL),
    numbers AS (
        SELECT material_id, alike, place, mean / length AS mean,
               sqrt(greatest(0, square - mean * mean)) / length AS spread
        FROM moments JOIN cell USING (material_id)),
    own AS (SELECT alike, place, mean, spread FROM numbers WHERE material_id = (
        SELECT CASE WHEN count(*) = 0 THEN error('structures has no row of ' || id) ELSE first(material_id) END
        FROM structures WHERE material_id = id))
    SELECT material_id, round(1 / (1 + sqrt(sum((a.mean - b.mean) ** 2 + (a.spread - b.spread) ** 2))), 6) AS similarity
    FROM numbers a JOIN own b USING (alike, place) WHERE material_id <> id GROUP BY material_id"""
FIND = r"""
    WITH asked AS (SELECT DISTINCT unnest(regexp_extract_all(lower(query), '[\p{L}\p{N}]+')) AS word),
    said AS (SELECT DISTINCT material_id, unnest(regexp_extract_all(lower(text), '[\p{L}\p{N}]+')) AS word
             FROM descriptions),
    weights AS (
        SELECT word, ln(1 + (SELECT count(*) FROM descriptions) / greatest(count(material_id), 1)) AS weight
        FROM asked LEFT JOIN said USING (word) GROUP BY word),
    best AS (
        SELECT material_id, sum(weight) / (SELECT sum(weight) FROM weights) AS similarity
        FROM said JOIN weights USING (word) GROUP BY material_id
        ORDER BY similarity DESC, material_id LIMIT coalesce(n, 10)),
    pieces AS (SELECT material_id, text, unnest(sentences) AS piece
               FROM descriptions SEMI JOIN best USING (material_id)),
    spoken AS (SELECT material_id, piece.start AS start, substring(text, piece.start + 1, piece.end - piece.start)
                      AS sentence FROM pieces),
    words AS (SELECT DISTINCT material_id, start, sentence,
                     unnest(regexp_extract_all(lower(sentence), '[\p{L}\p{N}]+')) AS word FROM spoken),
    scores AS (SELECT material_id, start, sentence, sum(weight) AS score FROM words JOIN weights USING (word)
               GROUP BY ALL),
    told AS (SELECT material_id, first(sentence ORDER BY score DESC, start) AS sentence
             FROM scores GROUP BY material_id)
    SELECT material_id, round(similarity, 6) AS similarity, sentence FROM best LEFT JOIN told USING (material_id)"""


def add(connection: duckdb.DuckDBPyConnection, schema: str, made: Collection[str], reach: float) -> None:
    """Define those whose tables have been `made`, with their comments. `reach`: of `tensorize`, Å²."""
    bodies = {"similar": SIMILAR, "find": FIND,
              "near": NEAR.format(neighbours=vectors.NEIGHBOURS, alike=vectors.ALIKE, reach=reach)}
    formulas = "(SELECT material_id, reduced_formula FROM materials)" if "materials" in made else \
        "(SELECT NULL::VARCHAR AS material_id, NULL::VARCHAR AS reduced_formula)"
    for name, body in bodies.items():
        if NEEDS[name] not in made:
            continue
        asked, more = ("query", ", sentence") if name == "find" else ("id", "")
        macro = f"{identifier(schema)}.{identifier(name)}"
        connection.execute(f"""
            CREATE MACRO {macro}({asked}, n) AS TABLE
            SELECT row_number() OVER (ORDER BY similarity DESC, material_id) AS rank, material_id, reduced_formula,
                   similarity{more}
            FROM (SELECT * FROM ({body}) ORDER BY similarity DESC, material_id LIMIT coalesce(n, 10)) AS hits
            LEFT JOIN {formulas} AS formulas USING (material_id) ORDER BY rank""")  # noqa: S608 (all of it is ours)
        said = (meanings.LEXICAL_FIND if name == "find" else meanings.FUNCTIONS[name]).replace(" := 10", "")
        connection.execute(f"COMMENT ON MACRO TABLE {macro} IS {quoted(said)}")

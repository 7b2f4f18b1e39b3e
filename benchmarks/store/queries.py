"""What is asked in SQL."""

JOIN = """select m.crystal_system, count(*) as crystals, avg(m.k_vrh) as k_vrh, avg(d.n_words) as words,
       avg(s.n_edges) as edges
from materials m join descriptions d using (material_id) join structures s using (material_id)
where m.band_gap > 1 and m.nsites <= 10 group by m.crystal_system order by m.crystal_system"""
"""Filter, join and aggregate over three tables."""
SIMILAR = "select * from similar('mp-1', 10)"

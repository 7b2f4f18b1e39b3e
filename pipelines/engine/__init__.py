"""Making tables: the engine, the plan, the stages, the record of runs."""

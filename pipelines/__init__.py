"""How and when features are made: sources, the one engine, executors, flows, the command line."""

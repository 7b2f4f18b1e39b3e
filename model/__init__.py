"""The thin training stage over the feature tables: loader, encoders, fusion, loss, train, evaluate, explain, predict."""

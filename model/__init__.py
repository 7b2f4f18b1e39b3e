"""The thin training stage over the tables: loader, encoders, fusion, loss, train, evaluate, explain, predict."""

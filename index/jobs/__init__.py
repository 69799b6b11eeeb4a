"""Builds as durable jobs: begun anywhere, done by any number of workers, resumed."""

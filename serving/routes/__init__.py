"""The routes: thin, each a few lines between a schema and the engine."""

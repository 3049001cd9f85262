"""Retrieval: where the relevant documents of a query stand among all documents."""

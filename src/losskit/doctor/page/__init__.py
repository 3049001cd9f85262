"""A report as text, HTML, JSON and JUnit."""

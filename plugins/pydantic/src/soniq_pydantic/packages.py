"""The packages whose types Pydantic reads."""

PYDANTICS = ("pydantic", "annotated_types")

"""`dataset.completion` in params.yaml: which source files become problems, and where they are cut."""

from pydantic import Field, field_validator, model_validator

from greenlit.config.section import Section


class CompletionParams(Section):
    """Of the dataset `completion`; see problems/completion.py."""

    rows: int = Field(default=2000, ge=1)
    """Files that are read, from the first one on; the rest is never downloaded."""
    languages: list[str] = Field(default=["python"], min_length=1)
    """Languages to keep, in lower case; of a file that does not say, the first one is assumed."""
    licenses: list[str] = [
        "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "0bsd", "unlicense", "cc0-1.0", "bsl-1.0", "zlib",
    ]  # fmt: skip
    """Licences to keep, as SPDX writes them; all that a file names must be among these. []: any, and none."""
    prefix_chars: int = Field(default=2000, ge=40)
    """Longest head of a file; the cut lies within it, so that no head begins in the middle of a file."""
    prefix_lines: int = Field(default=4, ge=1)
    """Lines that a head has at least, blank ones not counted."""
    min_lines: int = Field(default=2, ge=1)
    """Lines that are held back at least, blank ones not counted."""
    max_lines: int = Field(default=12, ge=1)
    """And at most; what a model may write (`max_new_tokens`) should be enough for them."""

    @field_validator("languages")
    @classmethod
    def _lower_case(cls, languages: list[str]) -> list[str]:
        for language in languages:
            if not language or language != language.lower():
                raise ValueError(f"must be in lower case, e.g. python (found {language[:40]!r})")
        return languages

    @model_validator(mode="after")
    def _some_length(self) -> "CompletionParams":
        if self.min_lines > self.max_lines:
            raise ValueError(f"min_lines must be <= max_lines (found {self.min_lines} and {self.max_lines})")
        return self

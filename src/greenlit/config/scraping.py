"""`scrape` and `fetch` in params.yaml: what is collected from web sites, and what fetch waits for."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from greenlit.config.section import Section

SCRAPED = "assets/raw/scraped"
NOTHING = "LICENSE"
"""A file that is always there and stays as it is: what fetch waits for where it waits for nothing."""
TERMS = "I have read the terms of service and may do this"
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=200)]
"""How a site names a question in its address: `two-sum`."""


class SampleParams(Section):
    """Problems written for Greenlit, in the form in which LeetCode answers: needs no network and no leave."""


class LeetcodeParams(Section):
    """Free questions of leetcode.com, by its GraphQL endpoint."""

    terms: str | None = None
    """The sentence `I have read the terms of service and may do this`: without it nothing is asked."""
    slugs: list[Slug] = []
    """These questions, by their name in the address; empty: what the site lists."""
    category: Literal["", "algorithms", "database", "shell", "concurrency", "javascript", "pandas"] = "algorithms"
    """Part of the site's list; empty: all of it."""
    difficulties: list[Literal["Easy", "Medium", "Hard"]] = Field(default=["Easy", "Medium", "Hard"], min_length=1)
    """What to ask for of the site's list."""
    limit: int | None = Field(default=100, ge=1)
    """Questions to ask for, in the order of the site's list; null asks for all (about 2,500: one and a half hours)."""
    interval_s: float = Field(default=2.0, ge=2.0)
    """Seconds before every request, the first one and repeated ones too."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Longest wait for a whole answer, in seconds."""
    attempts: int = Field(default=6, ge=1)
    """Times that one question is asked before giving up."""
    longest_wait_s: float = Field(default=600.0, ge=2.0)
    """Longest wait between two of them, in seconds; where the site asks for more, it is left alone at once."""
    edition: int = Field(default=0, ge=0)
    """Another number asks everything anew; answers of the same one are never asked for twice."""

    @model_validator(mode="after")
    def _permitted(self) -> "LeetcodeParams":
        if self.terms != TERMS:
            raise ValueError(
                "LeetCode's terms of service restrict automated access, and its statements are under copyright: have "
                f"you read leetcode.com/terms, and may you do this? If so: `terms: {TERMS}` (found {self.terms!r})"
            )
        return self


class ScrapeSources(Section):
    """What to collect, by source; a source that is not named is left alone."""

    leetcode: LeetcodeParams | None = None
    """leetcode.com; off unless it stands here."""
    sample: SampleParams | None = None
    """Problems of our own, to try everything without a network."""

    @model_validator(mode="after")
    def _said_in_full(self) -> "ScrapeSources":
        for name in sorted(self.model_fields_set):
            if getattr(self, name) is None:
                raise ValueError(f"{name}: must be a mapping, e.g. `{name}: {{}}` (found None)")
        return self

    @model_serializer(mode="wrap")
    def _only_what_stands_here(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}

    def names(self) -> list[str]:
        """The sources that stand here."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class ScrapeParams(Section):
    """Problems from web sites."""

    sources: ScrapeSources = ScrapeSources()
    """One scrape stage each; none by default."""


class FetchParams(Section):
    """When the dataset is fetched."""

    reads: str = NOTHING
    """A file or folder before fetch, which runs again when it changes: a scraped source, your own file of problems."""

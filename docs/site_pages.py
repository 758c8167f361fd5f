"""Hook of mkdocs: every Markdown file below ``docs/`` is a page, at the address that its path says.

So links between pages are the same relative paths in the repository and on the site. Internals
and decisions need no line in ``mkdocs.yml``: they come after the other pages, in the order of their
names.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
LISTED = {"Internals": "internals", "Decisions": "decisions"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Return the configuration with the pages of each folder in `LISTED` at the end of the navigation."""
    assert config.nav is not None
    for title, folder in LISTED.items():
        config.nav.append({title: [f"{folder}/{path.name}" for path in sorted((DOCS / folder).glob("*.md"))]})
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Return the files of the site with the pages added."""
    for path in sorted(DOCS.rglob("*.md")):
        files.append(File.generated(config, path.relative_to(DOCS).as_posix(), abs_src_path=str(path)))
    return files

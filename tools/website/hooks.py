"""Hooks of MkDocs: the Markdown files that lie beside the code become pages, and their links keep working."""

import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FOLDERS = ("configs", "detector", "proposals", "tests", "tools")
SHOWN = ("*.md", ".github/*.md", ".github/images/*", *(f"{folder}/**/*.md" for folder in FOLDERS))
"""Patterns of the files that the site shows."""


class RepositoryLinks(Treeprocessor):
    """Links to what has no page lead to the repository where it is published, and are plain text otherwise.

    Links to pages and to what does not exist are left as they are: MkDocs resolves the first and warns of the others.
    """

    page: Page
    files: Files
    address: str | None

    def run(self, root: Element) -> None:
        for link in root.iter("a"):
            scheme, host, path, _, anchor = urlsplit(link.attrib["href"])
            target = posixpath.normpath(posixpath.join(posixpath.dirname(self.page.file.src_uri), unquote(path)))
            if scheme or host or not path or target.startswith(("/", "..")) or not (ROOT / target).exists():
                continue
            if self.files.get_file_from_path(f"{target}/README.md"):  # what GitHub shows of a folder
                link.set("href", urlunsplit(("", "", f"{path.rstrip('/')}/README.md", "", anchor)))
            elif self.files.get_file_from_path(target) is None and self.address:
                link.set("href", urlunsplit(("", "", f"{self.address}/blob/HEAD/{target}", "", anchor)))
            elif self.files.get_file_from_path(target) is None:
                link.tag = "span"
                del link.attrib["href"]


links = RepositoryLinks()


class LinkExtension(Extension):
    """Adds `links` to Markdown, before MkDocs's own treatment of links, which has the priority 0."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.treeprocessors.register(links, "repository_links", 1)


def on_config(config: MkDocsConfig) -> None:
    links.address = config.repo_url
    config.markdown_extensions.append(LinkExtension())


def on_files(files: Files, config: MkDocsConfig) -> None:
    """A page has the path of its file in the repository as its source, so that links between them need no change."""
    links.files = files
    paths = {path for pattern in SHOWN for path in ROOT.glob(pattern)}
    for path in sorted(paths - set(Path(config.docs_dir).rglob("*"))):
        file = File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        file.dest_uri = file.dest_uri.removeprefix(".github/")  # hosts of pages leave out hidden folders
        files.append(file)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    links.page = page


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The search finds objects by their description, not by their code."""
    code = '<details class="mkdocstrings-source"'
    return html.replace(code, f"{code} data-search-exclude")

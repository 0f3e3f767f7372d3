"""Makes the repository's pages a site (mkdocs.yml): the README is its start, and files beside docs/ come along."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
OUTSIDE = re.compile(r"\]\(\s*\.\./([^)#\s]+)")
IN_DOCS = re.compile(r"\]\(docs/([^)\s]+)\)")
LINK = re.compile(r"\[([^\]]+)\]\(\s*([^):#\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages beside docs/, and each file that a page in docs/ refers to outside of it."""
    for name, page in PAGES.items():
        text = IN_DOCS.sub(r"](\1)", (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    texts = [file.content_string for file in files.documentation_pages()]
    for name in sorted({name for text in texts for name in OUTSIDE.findall(text)}):
        if (ROOT / name).is_file():
            files.append(File.generated(config, f"files/{name}", content=(ROOT / name).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead to the files that came along; folders, and files that didn't, are only named."""

    def lead(link: re.Match[str]) -> str:
        name = link[2].removeprefix("../")
        outside = name != link[2]
        known = f"files/{name}" if outside else name
        return f"[{link[1]}]({known})" if files.get_file_from_path(known) else link[1]

    return LINK.sub(lead, markdown)

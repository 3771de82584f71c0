"""mkdocs' hook: the README is the site's first page."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File


def on_files(files, config):
    """Add index.md, whose links lead from docs/ instead of the repository's root."""
    text = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"\[(SECURITY\.md)\]\(\1\)", r"`\1`", text)
    text = re.sub(r"\[docs/([\w.-]+)\]", r"[\1]", text)
    files.append(File.generated(config, "index.md", content=text))
    return files

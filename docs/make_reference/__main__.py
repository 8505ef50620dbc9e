"""Write every file that is made."""

from docs.make_reference.files import ROOT, made_files

for name, text in made_files().items():
    (ROOT / name).write_text(text, encoding="utf-8")

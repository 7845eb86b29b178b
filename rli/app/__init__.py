"""The page on which edits are tried in a browser: `rli app`. Only `page.py` knows the library that draws it."""

"""The pages that people see: a decision that is asked of them, with a form made from its schema.

Functions from data to HTML, and from posted fields to data. They do no I/O, know no run, and raise
for nothing that a schema says, a person types or a machine posts. What each part is for:

- `schemas` and `fields`: what a form asks, from its JSON Schema.
- `answers` and `typed`: what was posted, as the data that the schema asks for.
- `controls`, `prose` and `patterns`: fields and text as they are shown.
- `rendering` and `templates/`: the pages. They work without JavaScript, which their
  `Content-Security-Policy` (`CSP`) forbids.

Names of controls are the paths of fields (`value.amount`); beside them the form posts `nonce`,
`comment`, and `decision`, which is `approve` or `reject`.
"""

from rewake.pages.answers import parse
from rewake.pages.rendering import CSP, Asked, done, gone, handed_on, page, refused

__all__ = ["CSP", "Asked", "done", "gone", "handed_on", "page", "parse", "refused"]

"""The rules of the templates: what `infra/check` looks at, and what it says when a rule is broken."""

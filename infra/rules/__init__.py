"""The rules for the templates, which `infra/check` checks."""

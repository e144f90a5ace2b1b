"""The rules for the templates. `infra/check` checks the templates against them."""

"""Tests `welcome` from its event to its end. The sleep ends at once."""

import inngest
from inngest.experimental import mocked

from welcome import welcome


def test_a_new_user_is_greeted_at_once_and_asked_after_three_days() -> None:
    event = inngest.Event(name="user/signed.up", data={"name": "Ada"})
    run = mocked.trigger(welcome, event, mocked.Inngest(app_id="test"))
    assert run.status is mocked.Status.COMPLETED
    assert run.output == {"greeting": "Welcome, Ada!", "question": "How is it going, Ada?"}

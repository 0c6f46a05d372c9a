"""A judge that says what a test wants."""

import numpy as np
import pytest

from sophia_jax.types import Completion


class Speaker:
    """A `GenerateFn`.

    Attributes:
      say: request -> text of the reply, or a `Completion`'s other fields.
      asked: requests, in the order of asking.
      stops_after: replies until it is interrupted; None for never.
    """

    def __init__(self, say):
        self.say, self.asked, self.stops_after = say, [], None

    def __call__(self, requests):
        for request in requests:
            if self.stops_after == 0:
                raise KeyboardInterrupt
            if self.stops_after is not None:
                self.stops_after -= 1
            self.asked.append(request)
            said = self.say(request)
            said = {"text": said} if isinstance(said, str) else said
            fields = {"text": "", "finish_reason": "stop"} | said
            ids = np.zeros(len(fields["text"].split()), np.int32)
            yield Completion(
                group=request.group,
                sample=0,
                token_ids=ids,
                behavior_log_probs=None,
                policy_log_probs=None,
                **fields,
            )


@pytest.fixture
def speaker():
    return Speaker

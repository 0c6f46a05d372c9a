"""From an arm's trajectories to its policy: one update phase, alike for all arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sophia_jax.data.prompts import DIGITS
from sophia_jax.models.folder import load_model
from sophia_jax.models.model import Model
from sophia_jax.recipes.compare.arms import Arm
from sophia_jax.recipes.compare.laboratory import Laboratory, once
from sophia_jax.recipes.compare.outcomes import Kept, as_selection, same_questions
from sophia_jax.recipes.mixture import mix
from sophia_jax.sophia import update_policy
from sophia_jax.types import InputError, Track

__all__ = ["learn", "shares"]


def shares(lab: Laboratory, arms: Sequence[Arm]) -> tuple[dict[str, Kept], dict]:
    """What each arm learns from: equal numbers of questions where that can be.

    The arms that are `matched` all get as many questions as the one whose rule keeps
    fewest; the others no more than these, but maybe several reasonings of each.

    Args:
      lab: with the outcomes of all rollouts.
      arms: those without a rule are passed over.

    Returns:
      What is learnt by each arm's name; and how many questions each rule keeps.

    Raises:
      InputError: a rule keeps nothing.
    """
    seed = lab.config.seed
    kept = {
        arm.name: lab.outcomes[arm.captions].keep(arm.rule, seed)
        for arm in arms
        if arm.rule is not None
    }
    yields = {name: len(each) for name, each in kept.items()}
    for name, number in yields.items():
        if not number:
            raise InputError(
                f"{name}: expected a trajectory to learn from, got none that its rule "
                f"keeps of {len(lab.items)} questions"
            )
    fewest = min((yields[a.name] for a in arms if a.rule and a.matched), default=0)
    return {
        name: same_questions(each, fewest or len(each), seed)
        for name, each in kept.items()
    }, yields


def learn(lab: Laboratory, arm: Arm, share: Kept | None, track: Track) -> Model:
    """The arm's policy; made and saved if its folder does not hold it.

    Args:
      lab: the seed's material.
      arm: that learns; the arm that it starts from has been made before.
      share: of `shares`; None where it learns no trajectory.
      track: shows the updates.
    """
    folder = lab.folder / "arms" / arm.name
    if arm.after is None:
        policy = lab.models[arm.start]
    else:
        policy = load_model(lab.folder / "arms" / arm.after / "model")
    if arm.rule is None and arm.then is None:
        return policy

    def make() -> Model:
        updated = policy
        if share is not None:
            updated = _update(lab, policy, share, folder / "training" / "update", track)
        if arm.then is not None:
            updated = arm.then(lab, updated, folder / "training" / "then", track)
        return updated

    return once(folder / "model", make)


def _update(
    lab: Laboratory, policy: Model, share: Kept, folder: Path, track: Track
) -> Model:
    """SOPHIA's update phase, on what the arm keeps, captions and facts.

    As in the paper's ablations there are no trajectories of text alone beside it.
    """
    mixture = mix(
        policy,
        lab.items,
        as_selection(share),
        [],
        DIGITS,
        lab.config.mixture,
        seed=lab.config.seed,
    )
    return update_policy(
        policy, mixture.examples, lab.config.update, folder, track=track
    )

"""Random stories over days of virtual time: programs launch and serve, things go wrong, and every promise must hold.

`python -m schedulergodx_testing.simulation --seeds 2000` plays them; docs/simulation.md tells more. A seed decides
everything: the world, the steps, and who comes first where several could.
"""

from schedulergodx_testing.simulation.playing import Played, play
from schedulergodx_testing.simulation.shrinking import shrink
from schedulergodx_testing.simulation.stories import Setup, Step, Story, story_of

__all__ = ["Played", "Setup", "Step", "Story", "play", "shrink", "story_of"]

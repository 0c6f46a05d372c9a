"""Average-reward MDPs: what is best in them, and agents that learn it: LOOP."""

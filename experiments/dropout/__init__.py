"""Where dropout may stand in a recurrent network, and what it does to its memory."""

"""`muxproxy incident`: what happened for real, once more. The replays are in muxproxy/incident/."""

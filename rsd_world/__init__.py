"""The embedded world: roads, actors, scenarios, renderer, expert and scoring. A stand-in for CARLA."""

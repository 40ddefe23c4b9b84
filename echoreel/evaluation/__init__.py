"""How well it works: ActorBench on rendered actors, `measure` on any videos. May import all but cli, page."""

"""Roads: lane graph, towns, routes and OpenDRIVE import."""

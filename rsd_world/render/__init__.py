"""The cameras of the embedded world: a town and its snapshots drawn with Panda3D, off screen."""

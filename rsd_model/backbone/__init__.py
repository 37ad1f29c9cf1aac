"""Image features: ResNet and feature pyramid."""

"""What authgate tells about itself: the audit of its decisions, and figures. Nothing here takes part in a decision."""

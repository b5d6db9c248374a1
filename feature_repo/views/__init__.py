"""Feature views: the values of each entity at each instant, computed from accepted rows."""

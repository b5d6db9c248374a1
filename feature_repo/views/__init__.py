"""Feature views: from accepted rows to the values of each entity at each instant."""

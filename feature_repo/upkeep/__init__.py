"""Compare the online tables with what the plan and the releases need."""

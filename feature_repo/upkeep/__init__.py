"""What is online, compared with what the plan and the releases need."""

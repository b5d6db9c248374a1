"""The difference of two plans: their keys, the stages that run again, and what else changes by them."""

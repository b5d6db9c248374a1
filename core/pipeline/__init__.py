"""What a stage of `dvc.yaml` is made from: its code, which DVC does not follow, and the sections of the plan that it reads."""

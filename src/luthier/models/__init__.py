"""What recipes and tasks share: training, checkpoints, text models, the machine."""

"""Cancels working orders when nobody else can; knows how to do nothing else."""

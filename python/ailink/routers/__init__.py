"""Trained routers: their files, what they are trained from, training and evaluation."""

"""Captions, reasonings and the selection among them, stored between the stages."""

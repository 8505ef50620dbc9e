"""Faults of agent, receiver and recorder, made for real: what happens, beside what is wanted."""

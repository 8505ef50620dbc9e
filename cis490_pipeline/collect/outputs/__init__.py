"""Where an agent's rows go: a bounded queue, and standard output, sockets or a serial port."""

//! Sockets, TLS and the real clock for iothub-client: the connect machine and one non-blocking stream.

//! The client engine of iothub-client: messages, queue, connection life, and the Transport trait. No sockets, no TLS, no runtime.

//! The AMQP transport.
